// chart-schemas makes JSON schemas for kubeconform, one file a resource, named kind-group-version.json.
//
//	chart-schemas FOLDER FILE...
//
// A file is Kubernetes' OpenAPI document (swagger.json) or a CustomResourceDefinition. The schemas are strict: an unknown field is an
// error wherever the type has named fields.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

func main() {
	if len(os.Args) < 3 {
		fail(fmt.Errorf("usage: chart-schemas FOLDER FILE..."))
	}
	folder := os.Args[1]
	if err := os.MkdirAll(folder, 0o755); err != nil {
		fail(err)
	}
	for _, file := range os.Args[2:] {
		if err := convert(folder, file); err != nil {
			fail(fmt.Errorf("%s: %w", file, err))
		}
	}
}

func convert(folder, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var document object
	if err := yaml.Unmarshal(text, &document); err != nil {
		return err
	}
	if definitions, ok := document["definitions"].(object); ok {
		return ofOpenAPI(folder, definitions)
	}
	return ofResourceDefinition(folder, document)
}

// ofOpenAPI writes every definition that is a resource of exactly one group, version and kind.
func ofOpenAPI(folder string, definitions object) error {
	for name, definition := range definitions {
		resources, _ := definition.(object)["x-kubernetes-group-version-kind"].([]any)
		if len(resources) != 1 {
			continue // options of requests belong to every group
		}
		resource := resources[0].(object)
		group, version, kind := resource["group"].(string), resource["version"].(string), resource["kind"].(string)
		schema := object{"$ref": "#/definitions/" + name, "definitions": strict(reachable(definitions, name))}
		if err := write(folder, group, version, kind, schema); err != nil {
			return err
		}
	}
	return nil
}

func ofResourceDefinition(folder string, document object) error {
	spec := document["spec"].(object)
	kind := spec["names"].(object)["kind"].(string)
	for _, version := range spec["versions"].([]any) {
		version := version.(object)
		schema := strict(version["schema"].(object)["openAPIV3Schema"]).(object)
		schema["properties"].(object)["metadata"] = object{"type": "object"} // the document leaves it to Kubernetes
		if err := write(folder, spec["group"].(string), version["name"].(string), kind, schema); err != nil {
			return err
		}
	}
	return nil
}

// reachable gives the named definition and all that it refers to.
func reachable(definitions object, name string) object {
	found := object{}
	var visit func(value any)
	visit = func(value any) {
		switch value := value.(type) {
		case object:
			if reference, ok := value["$ref"].(string); ok {
				name := strings.TrimPrefix(reference, "#/definitions/")
				if _, known := found[name]; !known {
					found[name] = definitions[name]
					visit(definitions[name])
				}
			}
			for _, child := range value {
				visit(child)
			}
		case []any:
			for _, child := range value {
				visit(child)
			}
		}
	}
	visit(object{"$ref": "#/definitions/" + name})
	return found
}

// strict copies a schema, refuses unknown fields, and says in JSON Schema what Kubernetes says in formats.
func strict(value any) any {
	switch value := value.(type) {
	case object:
		if format := value["format"]; format == "int-or-string" || value["x-kubernetes-int-or-string"] == true {
			return object{"type": []any{"integer", "string"}}
		}
		copied := object{}
		for key, child := range value {
			copied[key] = strict(child)
		}
		_, isSchema := value["type"].(string)
		_, hasFields := value["properties"].(object)
		_, hasValues := value["additionalProperties"]
		if isSchema && hasFields && !hasValues && value["x-kubernetes-preserve-unknown-fields"] != true {
			copied["additionalProperties"] = false
		}
		if value["description"] != nil && strings.HasPrefix(fmt.Sprint(value["description"]), "Quantity is a fixed-point") {
			copied["type"] = []any{"number", "string"}
		}
		if _, isFormat := value["format"].(string); isFormat {
			delete(copied, "format") // Kubernetes' own, such as int32 and byte
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for at, child := range value {
			copied[at] = strict(child)
		}
		return copied
	}
	return value
}

func write(folder, group, version, kind string, schema object) error {
	parts := []string{kind}
	if group != "" {
		parts = append(parts, strings.Split(group, ".")[0])
	}
	name := strings.ToLower(strings.Join(append(parts, version), "-")) + ".json"
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name), text, 0o644)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "chart-schemas:", err)
	os.Exit(1)
}
