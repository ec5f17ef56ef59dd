package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"gatehouse/certs"
	"gatehouse/tokenserver"
)

// administrator is the user that the embedded default makes at its first start.
const administrator = "admin"

// ensureAdministrator makes the file of users with an administrator, unless it is there. The password is returned only then.
func ensureAdministrator(path string) (password string, err error) {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	password = newPassword()
	return password, tokenserver.NewHtpasswdFile(path).Add(administrator, password)
}

// startPage is what somebody who starts gatehouse for the first time reads.
var startPage = template.Must(template.New("").Parse(`
gatehouse serves a Docker registry.

  URL        {{.URL}}
  User       {{.User}}
{{- if .Password}}
  Password   {{.Password}}    (shown this once)
{{- else}}
  Password   as shown at the first start; a new one: gatehouse user passwd {{.User}} --data {{.Data}}
{{- end}}
  CA         {{.CA}}
  Data       {{.Data}}

Push a first image:

  docker login {{.Host}} --username {{.User}}
{{- if .Hello}}
  docker build --tag {{.Host}}/hello:1 {{.Hello}}
  docker push {{.Host}}/hello:1

and run it from there: docker run --rm --pull always {{.Host}}/hello:1
{{- else}}
  docker tag IMAGE {{.Host}}/hello:1
  docker push {{.Host}}/hello:1
{{- end}}

`))

// showStartPage prints the start page of the embedded default.
func (p *program) showStartPage(s *server, password string) error {
	folder := filepath.Join(p.data, "hello")
	ok, err := writeHello(folder)
	if err != nil {
		return err
	}
	if !ok {
		folder = ""
	}
	host := shownHost(s.gateway.Addr())
	ca := ""
	if local, ok := s.certs.(*certs.LocalCA); ok {
		ca = local.CAFile()
	}
	var b strings.Builder
	err = startPage.Execute(&b, struct{ URL, User, Password, CA, Data, Host, Hello string }{
		"https://" + host, administrator, password, ca, p.data, host, folder,
	})
	if err == nil {
		_, err = fmt.Fprint(p.stdout, b.String())
	}
	return err
}

// shownHost is how to reach addr from this machine: docker takes localhost without a certificate that it knows.
func shownHost(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return addr.String()
	}
	if tcp.IP.IsUnspecified() || tcp.IP.IsLoopback() {
		return fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return addr.String()
}
