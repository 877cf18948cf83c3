// Fifty goroutines read a file each, write another and start a program; used by tests/e2e/go.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
)

func work(n int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("f%d", n))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(fmt.Sprintf("g%d", n), []byte(strings.ToUpper(string(text))+"!"), 0600); err != nil {
		return "", err
	}
	out, err := exec.Command("wc", "-c", fmt.Sprintf("g%d", n)).Output()
	return strings.TrimSpace(string(out)), err
}

func main() {
	var wg sync.WaitGroup
	results := make([]string, 50)
	for n := range results {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			out, err := work(n)
			results[n] = fmt.Sprint(out, " ", err)
		}(n)
	}
	wg.Wait()
	for _, r := range results {
		fmt.Println(r)
	}
}
