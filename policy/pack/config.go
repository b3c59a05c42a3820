package pack

import (
	"fmt"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/structpb"

	"homelab/policy/rules"
)

// configSchema is what may be configured of a rule beside its level; nil if nothing.
func configSchema(r *rules.Rule) (*pulumirpc.PolicyConfigSchema, error) {
	if r.ID != rules.ProxiedID {
		return nil, nil
	}
	properties, err := structpb.NewStruct(map[string]any{rules.ExceptionsKey: rules.ExceptionsSchema()})
	if err != nil {
		return nil, fmt.Errorf("making the schema of %s: %w", r.ID, err)
	}
	return &pulumirpc.PolicyConfigSchema{Properties: properties}, nil
}

// exceptions are the hostnames that may lead past Cloudflare, by the configuration.
func (s *server) exceptions() ([]rules.Exception, error) {
	return rules.ReadExceptions(s.config[rules.ProxiedID].GetProperties().AsMap())
}
