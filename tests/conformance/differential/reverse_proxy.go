// A reverse proxy of the Go standard library in front of one upstream: `go run reverse_proxy.go LISTEN UPSTREAM`.
package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func main() {
	target, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.SetOutput(io.Discard)
	log.Fatal(http.ListenAndServe(os.Args[1], httputil.NewSingleHostReverseProxy(target)))
}
