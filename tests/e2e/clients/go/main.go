// Go's net/http as its users use it: one JSON document of what it saw, as python_clients.py tells it.
//
//	main URL HOST BROKEN_URL BROKEN_HOST
//
// HOST is what to ask for in the Host field, "" for the one of the URL. Only the standard library.
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

type route struct{ url, host string }

var client = &http.Client{Timeout: time.Minute}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// ask sends one request. The caller closes the body.
func (r route) ask(method, path string, body io.Reader) *http.Response {
	request, err := http.NewRequest(method, r.url+path, body)
	must(err)
	request.Host = r.host
	answer, err := client.Do(request)
	must(err)
	return answer
}

// read is ask, and the whole body.
func (r route) read(method, path string, body io.Reader) (int, []byte) {
	answer := r.ask(method, path, body)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	must(err)
	return answer.StatusCode, content
}

// events reads an event stream line by line, and says of each event that it was seen.
func (r route) events(token string) []string {
	answer := r.ask("GET", "/events?"+token, nil)
	defer answer.Body.Close()
	found := []string{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if event := strings.TrimPrefix(lines.Text(), "data: "); event != lines.Text() {
			found = append(found, event)
			r.read("GET", "/seen?"+token, nil)
		}
	}
	must(lines.Err())
	return found
}

func main() {
	app := route{os.Args[1], os.Args[2]}
	broken := route{os.Args[3], os.Args[4]}
	megabyte := make([]byte, 1<<20)
	_, err := rand.Read(megabyte)
	must(err)

	_, woke := app.read("GET", "/who?woke", nil)
	_, again := app.read("GET", "/who?again", nil)
	_, back := app.read("POST", "/echo", bytes.NewReader(megabyte))
	events := app.events(hex.EncodeToString(megabyte[:8]))
	status, problem := broken.read("GET", "/x", nil)
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"woke":   json.RawMessage(woke),
		"again":  json.RawMessage(again),
		"echoed": bytes.Equal(back, megabyte),
		"events": events,
		"status": status,
		"error":  string(problem),
	}))
}
