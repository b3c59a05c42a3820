// Command schemacheck checks a YAML document against a JSON schema. It is a module of its own, so
// that the homelab's own module needs no schema library.
package main

import (
	"fmt"
	"os"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: schemacheck SCHEMA.json DOCUMENT.yml")
		os.Exit(2)
	}
	if err := check(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func check(schemaFile, documentFile string) error {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		return fmt.Errorf("reading the schema %s: %w", schemaFile, err)
	}
	data, err := os.ReadFile(documentFile)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	var document any
	if err := yaml.Unmarshal(data, &document); err != nil {
		return fmt.Errorf("reading the document %s: %w", documentFile, err)
	}
	if err := schema.Validate(document); err != nil {
		return fmt.Errorf("checking %s: %w", documentFile, err)
	}
	return nil
}
