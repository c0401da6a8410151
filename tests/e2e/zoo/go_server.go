// The zoo's application on Go's own server: `go_server PORT`. See servers.py.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"time"
)

var (
	lock    sync.Mutex
	journal []string
	gates   = map[string]chan struct{}{}
)

func gate(name string) chan struct{} {
	lock.Lock()
	defer lock.Unlock()
	if gates[name] == nil {
		gates[name] = make(chan struct{})
	}
	return gates[name]
}

func seen(line string) string {
	lock.Lock()
	defer lock.Unlock()
	journal = append(journal, line)
	return strings.Join(journal, "\n")
}

func answer(w http.ResponseWriter, r *http.Request) {
	text := seen(r.Method + " " + r.URL.Path)
	w.Header().Set("ETag", `"1"`)
	switch path.Base(r.URL.Path) {
	case "stream":
		fmt.Fprintln(w, "first")
		w.(http.Flusher).Flush()
		<-gate(r.URL.RawQuery)
		fmt.Fprintln(w, "second")
		return
	case "open":
		close(gate(r.URL.RawQuery))
	case "journal":
		fmt.Fprint(w, text)
		return
	case "echo":
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
		return
	}
	if r.Header.Get("If-None-Match") == `"1"` {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	fmt.Fprintln(w, "hello")
}

func main() {
	server := http.Server{
		Addr:        "127.0.0.1:" + os.Args[1],
		Handler:     http.HandlerFunc(answer),
		IdleTimeout: time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
