// yaml-to-json reads a stream of YAML documents and prints those that are not empty, one line of JSON each.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	stream, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	for document := range bytes.SplitSeq(append([]byte("\n"), stream...), []byte("\n---")) {
		json, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			fail(err)
		}
		if string(json) != "null" {
			fmt.Println(string(json))
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "yaml-to-json:", err)
	os.Exit(1)
}
