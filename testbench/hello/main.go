// Command hello is the program inside the images that tests push and pull. It
// prints the file /message, which differs from image to image, so that a test
// sees which image ran. Built without cgo it needs nothing else in its image.
package main

import (
	"fmt"
	"os"
)

func main() {
	message, err := os.ReadFile("/message")
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello:", err)
		os.Exit(1)
	}
	os.Stdout.Write(message)
}
