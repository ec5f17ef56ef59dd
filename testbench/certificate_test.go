package testbench

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestCertificate(t *testing.T) {
	c := NewCertificate(t, "localhost", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	defer server.Close()
	addr := server.Listener.Addr().String()

	for _, name := range []string{"localhost", "127.0.0.1"} {
		config := ClientTLS(t, c.CAFile)
		config.ServerName = name
		conn, err := tls.Dial("tcp", addr, config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		conn.Close()
	}
	for what, config := range map[string]*tls.Config{
		"a name that is not covered": {RootCAs: ClientTLS(t, c.CAFile).RootCAs, ServerName: "example.com"},
		"another CA":                 {RootCAs: ClientTLS(t, NewCertificate(t).CAFile).RootCAs, ServerName: "localhost"},
	} {
		if conn, err := tls.Dial("tcp", addr, config); err == nil {
			conn.Close()
			t.Errorf("accepted with %s", what)
		}
	}
}
