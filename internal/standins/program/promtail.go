package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"gopkg.in/yaml.v3"
)

// promtailSettings is promtail.yaml, as far as the stand-in does what it says.
type promtailSettings struct {
	Server struct {
		Port     int    `yaml:"http_listen_port"`
		GRPC     string `yaml:"grpc_listen_address"`
		LogLevel string `yaml:"log_level"`
	} `yaml:"server"`
	Positions struct {
		Filename string `yaml:"filename"`
	} `yaml:"positions"`
	Clients []struct {
		URL     string    `yaml:"url"`
		Backoff yaml.Node `yaml:"backoff_config"`
	} `yaml:"clients"`
	Scrapes []promtailScrape `yaml:"scrape_configs"`
}

// promtailScrape is a source.
type promtailScrape struct {
	JobName string `yaml:"job_name"`
	Docker  []struct {
		Host    string `yaml:"host"`
		Refresh string `yaml:"refresh_interval"`
	} `yaml:"docker_sd_configs"`
	Journal *struct {
		Path   string            `yaml:"path"`
		MaxAge duration          `yaml:"max_age"`
		Labels map[string]string `yaml:"labels"`
	} `yaml:"journal"`
	Static []struct {
		Labels map[string]string `yaml:"labels"`
	} `yaml:"static_configs"`
	Rules []struct {
		Action      string   `yaml:"action"`
		Sources     []string `yaml:"source_labels"`
		Regex       string   `yaml:"regex"`
		Target      string   `yaml:"target_label"`
		Replacement string   `yaml:"replacement"`
	} `yaml:"relabel_configs"`
	Stages []struct {
		Replace *struct {
			Expression string `yaml:"expression"`
			Replace    string `yaml:"replace"`
		} `yaml:"replace"`
		Metadata map[string]string `yaml:"structured_metadata"`
		Keep     []string          `yaml:"labelallow"`
	} `yaml:"pipeline_stages"`
}

// promtail is Promtail.
func promtail(ctx context.Context, p process) error {
	given, err := parse("promtail", p.args, "config.file")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(p.path(given["config.file"]))
	if err != nil {
		return err
	}
	var set promtailSettings
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&set); err != nil {
		return fmt.Errorf("promtail: failed parsing config: %w", err)
	}
	plan, err := set.pipeline()
	if err != nil {
		return fmt.Errorf("promtail: %w", err)
	}
	return ship(ctx, p, *plan, shipping{
		title: "Promtail 3.6.10", ready: "/ready", said: "Ready", state: path.Join(path.Dir(set.Positions.Filename), "standin.db"),
		address: fmt.Sprintf(":%d", set.Server.Port), counter: "promtail_journal_target_lines_total",
	})
}

// pipeline returns what is to be done. The stages of all sources are the same, as the deployment
// writes them.
func (s *promtailSettings) pipeline() (*pipeline, error) {
	if len(s.Clients) != 1 || s.Server.Port == 0 || s.Positions.Filename == "" {
		return nil, errors.New("there must be one client, a port and a file of positions")
	}
	out := &pipeline{push: s.Clients[0].URL}
	for _, scrape := range s.Scrapes {
		for _, docker := range scrape.Docker {
			out.engine = docker.Host
		}
		for _, static := range scrape.Static {
			out.files = append(out.files, static.Labels)
		}
		if scrape.Journal != nil {
			out.journal, out.maxAge, out.machine = scrape.Journal.Path, time.Duration(scrape.Journal.MaxAge), scrape.Journal.Labels
		}
		for _, r := range scrape.Rules {
			rule, err := newRelabel(r.Action, r.Sources, r.Regex, r.Target, r.Replacement)
			if err != nil {
				return nil, err
			}
			if scrape.Docker != nil {
				out.rules = append(out.rules, rule)
			}
		}
		out.stages = nil
		for _, stage := range scrape.Stages {
			if stage.Keep != nil {
				out.keep = stage.Keep
			}
			if stage.Replace != nil {
				made, err := newReplacement(stage.Replace.Expression, stage.Replace.Replace)
				if err != nil {
					return nil, err
				}
				out.stages = append(out.stages, made)
			}
		}
	}
	return out, nil
}
