// Asks a server five things with Go's net/http and writes each answer's body to a file: what
// the clients of tests/netns/errands.py do. Usage: client URL FOLDER BODY
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A reader whose size net/http cannot know: it sends chunks.
type stream struct{ io.Reader }

func ask(client *http.Client, request *http.Request, path string) {
	answer, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		log.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		log.Fatal(answer.Status)
	}
	if err := os.WriteFile(path, body, 0o600); err != nil {
		log.Fatal(err)
	}
}

func request(method, url string, body io.Reader) *http.Request {
	made, err := http.NewRequest(method, url, body)
	if err != nil {
		log.Fatal(err)
	}
	return made
}

func main() {
	url, folder := os.Args[1], os.Args[2]
	body, err := os.ReadFile(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	transport := &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	for number, size := range []int{0, 100_000, 2 << 20} {
		asked := request("GET", fmt.Sprintf("%s/?size=%d", url, size), nil)
		ask(client, asked, filepath.Join(folder, fmt.Sprint(number)))
	}
	sized := request("POST", url+"/sized", bytes.NewReader(body))
	sized.Header.Set("X-Request-Id", "given-by-the-caller")
	sized.Header.Set("Expect", "100-continue")
	ask(client, sized, filepath.Join(folder, "3"))
	ask(client, request("PUT", url+"/chunked", stream{bytes.NewReader(body)}), filepath.Join(folder, "4"))
}
