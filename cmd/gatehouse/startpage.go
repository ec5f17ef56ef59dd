package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"gatehouse/certs"
	"gatehouse/configs"
	"gatehouse/durable"
	"gatehouse/tokenserver"
)

// adminName is the user to whom the embedded default gives all rights.
const adminName = "admin"

// administrator is the user of the embedded default; the zero administrator is one that the configuration does not want.
type administrator struct {
	name     string
	password string // only of one that was just made
	file     *tokenserver.HtpasswdFile
}

// ensureAdministrator makes an administrator where a rule is for one and none can log in.
func ensureAdministrator(cfg *configs.Config) (administrator, error) {
	isAdmin := func(r configs.Rule) bool { return slices.Contains(r.Account, adminName) }
	if cfg.Auth.Htpasswd == nil || !slices.ContainsFunc(cfg.TokenServer.Access, isAdmin) {
		return administrator{}, nil
	}
	a := administrator{name: adminName, file: tokenserver.NewHtpasswdFile(cfg.Auth.Htpasswd.Path)}
	users, err := a.file.List()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	for _, u := range users {
		if u.Account == adminName {
			return a, nil
		}
	}
	a.password = newPassword()
	if err := durable.MkdirAll(filepath.Dir(cfg.Auth.Htpasswd.Path), 0o700); err != nil {
		return a, err
	}
	return a, a.file.Add(adminName, a.password)
}

// forget removes an administrator whose password nobody has seen: the next start makes another.
func (a administrator) forget() error {
	if a.password == "" {
		return nil
	}
	return a.file.Remove(a.name)
}

// startPage is what somebody who starts gatehouse for the first time reads.
var startPage = template.Must(template.New("").Parse(`
gatehouse serves a Docker registry.

  URL        {{.URL}}
{{- if .User}}
  User       {{.User}}
{{- if .Password}}
  Password   {{.Password}}    (shown this once)
{{- else}}
  Password   as shown at the first start; a new one: gatehouse user passwd {{.User}} --data {{.Data}}
{{- end}}{{end}}
  CA         {{.CA}}
  Data       {{.Data}}

Push a first image:

  docker login {{.Host}}{{if .User}} --username {{.User}}{{end}}
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
func (p *program) showStartPage(s *server, admin administrator) error {
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
		"https://" + host, admin.name, admin.password, ca, shellWord(p.data), host, shellWord(folder),
	})
	if err == nil {
		_, err = fmt.Fprint(p.stdout, b.String())
	}
	return err
}

// shellWord quotes a path for a command line, where it needs it.
func shellWord(path string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+", r)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
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
