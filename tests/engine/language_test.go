package engine

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"homelab/tests/internal/packprogram"
)

// languageVariable makes the test's own program the plugin of the language Go, which the CLI from
// its module does not have. It compiles and runs no program: pulumi import starts one and asks it
// for nothing but its version and its needs.
const languageVariable = "HOMELAB_TEST_LANGUAGE_PLUGIN"

func TestMain(m *testing.M) {
	packprogram.Serve()
	if os.Getenv(languageVariable) != "" {
		if err := serveLanguage(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// language answers what an import asks. Everything else is refused as unimplemented.
type language struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
}

func (language) Handshake(context.Context, *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (language) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "3.259.0"}, nil
}

func (language) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

func serveLanguage() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	pulumirpc.RegisterLanguageRuntimeServer(server, language{})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return server.Serve(listener)
}

// languagePath is a PATH on which the CLI finds the language's plugin.
func languagePath(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=yes exec '%s' \"$@\"\n", languageVariable, self)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pulumi-language-go"), []byte(script), 0o700))
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
}
