package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/grafana/alloy/syntax/ast"
	"github.com/grafana/alloy/syntax/parser"
	"github.com/grafana/alloy/syntax/vm"
)

// alloy is Grafana Alloy with the components that the deployment uses.
func alloy(ctx context.Context, p process) error {
	if len(p.args) < 2 || p.args[0] != "run" {
		return fmt.Errorf("alloy: the stand-in runs a file, and does nothing else: %q", p.args)
	}
	last := len(p.args) - 1
	set, err := parse("alloy", p.args[1:last], "server.http.listen-addr", "storage.path", "disable-reporting", "server.http.enable-pprof",
		"server.http.disable-support-bundle")
	if err != nil {
		return err
	}
	if set["server.http.listen-addr"] == "" || set["storage.path"] == "" || set["disable-reporting"] != "true" {
		return fmt.Errorf("alloy: the stand-in needs an address and a folder, and reports nothing: %q", p.args)
	}
	content, err := os.ReadFile(p.path(p.args[last]))
	if err != nil {
		return err
	}
	plan, err := readAlloy(content)
	if err != nil {
		return fmt.Errorf("could not perform the initial load successfully: %w", err)
	}
	return ship(ctx, p, *plan, shipping{
		title: "Alloy v1.20.1", ready: "/-/ready", said: "Alloy is ready.\n", state: set["storage.path"] + "/standin.db", address: set["server.http.listen-addr"],
		counter: "loki_source_journal_target_lines_total",
	})
}

// readAlloy reads Alloy's configuration. Blocks and attributes that the stand-in does not know are
// refused.
func readAlloy(content []byte) (*pipeline, error) {
	file, err := parser.ParseFile("config.alloy", content)
	if err != nil {
		return nil, err
	}
	out := &pipeline{}
	var problems []error
	for _, statement := range file.Body {
		block, ok := statement.(*ast.BlockStmt)
		if !ok {
			return nil, errors.New("there is an attribute outside of a block")
		}
		if err := out.block(block); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", block.GetBlockName(), err))
		}
	}
	return out, errors.Join(problems...)
}

// block reads a component.
func (p *pipeline) block(b *ast.BlockStmt) (err error) {
	switch b.GetBlockName() {
	case "logging":
		_, err = attributes(b, "level", "format")
	case "discovery.docker":
		err = text(b, "host", &p.engine, "refresh_interval")
	case "discovery.relabel":
		p.rules, err = alloyRules(b)
	case "loki.source.docker":
		_, err = attributes(b, "host", "targets", "labels", "forward_to")
	case "loki.relabel":
		_, err = alloyRules(b)
	case "loki.source.journal":
		err = p.readJournal(b)
	case "loki.source.file":
		var found map[string]ast.Expr
		if found, err = attributes(b, "targets", "forward_to"); err == nil {
			err = vm.New(found["targets"]).Evaluate(nil, &p.files)
		}
	case "loki.process":
		err = p.process(b)
	case "loki.write":
		err = errors.New("there is no endpoint")
		for _, inner := range blocks(b) {
			err = text(inner, "url", &p.push, "max_backoff_retries")
		}
	default:
		err = errors.New("the stand-in has no such component")
	}
	return err
}

// readJournal reads where the journal is.
func (p *pipeline) readJournal(b *ast.BlockStmt) error {
	found, err := attributes(b, "path", "max_age", "labels", "relabel_rules", "forward_to")
	if err != nil {
		return err
	}
	var age string
	for name, into := range map[string]any{"path": &p.journal, "max_age": &age, "labels": &p.machine} {
		value, there := found[name]
		if !there {
			return fmt.Errorf("there is no %s", name)
		}
		if err := vm.New(value).Evaluate(nil, into); err != nil {
			return err
		}
	}
	p.maxAge, err = time.ParseDuration(age)
	return err
}

// process reads the stages.
func (p *pipeline) process(b *ast.BlockStmt) error {
	var problems []error
	for _, stage := range blocks(b) {
		var err error
		switch stage.GetBlockName() {
		case "stage.replace":
			var expression, by string
			err = errors.Join(text(stage, "expression", &expression, "replace"), text(stage, "replace", &by, "expression"))
			if err == nil {
				var made replacement
				made, err = newReplacement(expression, by)
				p.stages = append(p.stages, made)
			}
		case "stage.structured_metadata":
			_, err = attributes(stage, "values")
		case "stage.label_keep":
			var found map[string]ast.Expr
			if found, err = attributes(stage, "values"); err == nil {
				err = vm.New(found["values"]).Evaluate(nil, &p.keep)
			}
		default:
			err = fmt.Errorf("the stand-in has no %s", stage.GetBlockName())
		}
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// alloyRules reads the rules of a component.
func alloyRules(b *ast.BlockStmt) (rules []relabel, err error) {
	for _, inner := range blocks(b) {
		known := []string{"action", "source_labels", "regex", "target_label", "replacement"}
		found, err := attributes(inner, known...)
		if err != nil || inner.GetBlockName() != "rule" {
			return nil, errors.Join(fmt.Errorf("%s is no rule", inner.GetBlockName()), err)
		}
		texts, sources := map[string]string{}, []string{}
		for name, value := range found {
			if name == "source_labels" {
				err = vm.New(value).Evaluate(nil, &sources)
			} else {
				var read string
				err = vm.New(value).Evaluate(nil, &read)
				texts[name] = read
			}
			if err != nil {
				return nil, err
			}
		}
		rule, err := newRelabel(texts["action"], sources, texts["regex"], texts["target_label"], texts["replacement"])
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

func blocks(b *ast.BlockStmt) (inner []*ast.BlockStmt) {
	for _, statement := range b.Body {
		if block, ok := statement.(*ast.BlockStmt); ok {
			inner = append(inner, block)
		}
	}
	return inner
}

// attributes returns the attributes of a block, all of which must be known.
func attributes(b *ast.BlockStmt, known ...string) (map[string]ast.Expr, error) {
	found := map[string]ast.Expr{}
	for _, statement := range b.Body {
		attribute, ok := statement.(*ast.AttributeStmt)
		if !ok {
			continue
		}
		if !slices.Contains(known, attribute.Name.Name) {
			return nil, fmt.Errorf("the stand-in has no %s", strings.Join([]string{b.GetBlockName(), attribute.Name.Name}, "."))
		}
		found[attribute.Name.Name] = attribute.Value
	}
	return found, nil
}

// text reads an attribute that must be there and is a text; others of the block are known.
func text(b *ast.BlockStmt, name string, into *string, known ...string) error {
	found, err := attributes(b, append(known, name)...)
	if err != nil {
		return err
	}
	value, there := found[name]
	if !there {
		return fmt.Errorf("there is no %s", name)
	}
	return vm.New(value).Evaluate(nil, into)
}
