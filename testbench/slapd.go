package testbench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// slapdTimeout bounds how long slapd, and a program that asks it, may take.
const slapdTimeout = 60 * time.Second

// What every Slapd has.
const (
	SlapdSuffix   = "dc=example,dc=com"
	SlapdAdmin    = "cn=admin," + SlapdSuffix
	SlapdPassword = "the admin's password"
)

// Slapd is a real OpenLDAP server with one database, in directories of its own
// and on loopback ports. The cleanup ends it. It keeps memberOf (RFC 2307bis),
// and the time of each change of a password.
//
// Kill, Stop and Restart are the process's: after Kill and after Stop nothing
// listens; Restart serves the same data on the same ports and returns when it
// does.
type Slapd struct {
	*Process
	// URL and SecureURL are ldap://127.0.0.1:PORT, which takes StartTLS too, and
	// ldaps://127.0.0.1:PORT.
	URL, SecureURL string
	// CAFile has the CA of its certificate, which is for 127.0.0.1 and localhost.
	CAFile string

	t      testing.TB
	modify string
}

// slapdConf wants, in this order: the folder of schemas, that of the database, CA,
// certificate, key, the folder of modules, suffix, admin, his password.
const slapdConf = `
include %[1]s/core.schema
include %[1]s/cosine.schema
include %[1]s/inetorgperson.schema
pidfile %[2]s/slapd.pid
TLSCACertificateFile %[3]s
TLSCertificateFile %[4]s
TLSCertificateKeyFile %[5]s
modulepath %[6]s
moduleload back_mdb
moduleload memberof
moduleload ppolicy
database mdb
suffix "%[7]s"
rootdn "%[8]s"
rootpw "%[9]s"
directory %[2]s
dbnosync
access to attrs=userPassword by anonymous auth by * none
access to * by * read
overlay memberof
overlay ppolicy
ppolicy_default "cn=policy,%[7]s"
`

// slapdTree is what there is before the test adds anything.
const slapdTree = `
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=policy,dc=example,dc=com
objectClass: device
objectClass: pwdPolicy
pwdAttribute: userPassword
pwdMaxAge: 31536000

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups
`

// StartSlapd runs a slapd and returns when it answers. Below SlapdSuffix it has
// ou=people and ou=groups, both empty. It needs Debian's slapd and ldap-utils.
func StartSlapd(t testing.TB) *Slapd {
	t.Helper()
	program := sbinTool(t, "slapd")
	s := &Slapd{t: t, modify: Tool(t, "ldapmodify")}
	dir := t.TempDir()
	cert := NewCertificate(t, "127.0.0.1", "localhost")
	plain, secure := FreeAddr(t), FreeAddr(t)
	s.URL, s.SecureURL, s.CAFile = "ldap://"+plain, "ldaps://"+secure, cert.CAFile
	conf := filepath.Join(dir, "slapd.conf")
	writeFile(t, conf, fmt.Appendf(nil, slapdConf, "/etc/ldap/schema", dir, cert.CAFile, cert.CertFile, cert.KeyFile,
		"/usr/lib/ldap", SlapdSuffix, SlapdAdmin, SlapdPassword), 0o600)
	s.Process = Start(t, program, "-f", conf, "-h", s.URL+"/ "+s.SecureURL+"/", "-d", "0")
	s.awaitHealth()
	s.Modify(slapdTree)
	return s
}

// sbinTool is [Tool] for a server, which may be where not everybody's PATH leads.
func sbinTool(t testing.TB, name string) string {
	t.Helper()
	if path := filepath.Join("/usr/sbin", name); isProgram(path) {
		return path
	}
	return Tool(t, name)
}

// isProgram tells whether there is a file that can be run.
func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Restart starts it again on the same data and ports, and returns when it
// answers; if it still runs, it is killed first.
func (s *Slapd) Restart() {
	s.t.Helper()
	s.Process.Restart()
	s.awaitHealth()
}

// awaitHealth returns when slapd takes the admin's password.
func (s *Slapd) awaitHealth() {
	s.t.Helper()
	Eventually(s.t, slapdTimeout, "slapd's health", func() error {
		if s.isOver() {
			s.t.Fatalf("slapd exited: %v", s.waitError())
		}
		_, err := s.run("\n")
		return err
	})
}

// Modify applies LDIF (RFC 2849), all of it or the test fails: entries are
// added, records with a changetype do what they say.
func (s *Slapd) Modify(ldif string) {
	s.t.Helper()
	if out, err := s.run(ldif); err != nil {
		s.t.Fatalf("ldapmodify: %v\n%s", err, out)
	}
}

// AddUser adds the user uid=NAME,ou=people with a password, and further lines
// of LDIF.
func (s *Slapd) AddUser(name, password string, lines ...string) {
	s.t.Helper()
	s.Modify(fmt.Sprintf("dn: uid=%[1]s,ou=people,%[2]s\nobjectClass: inetOrgPerson\nuid: %[1]s\ncn: %[1]s\nsn: %[1]s\n"+
		"userPassword: %[3]s\n%[4]s\n", name, SlapdSuffix, password, strings.Join(lines, "\n")))
}

// AddGroup adds the group cn=NAME,ou=groups with the members of these DNs.
func (s *Slapd) AddGroup(name string, members ...string) {
	s.t.Helper()
	ldif := fmt.Sprintf("dn: cn=%[1]s,ou=groups,%[2]s\nobjectClass: groupOfNames\ncn: %[1]s\n", name, SlapdSuffix)
	for _, m := range members {
		ldif += "member: " + m + "\n"
	}
	s.Modify(ldif)
}

// run is Modify that returns what ldapmodify printed, and its failure.
func (s *Slapd) run(ldif string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), slapdTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.modify, "-a", "-x", "-H", s.URL, "-D", SlapdAdmin, "-w", SlapdPassword)
	cmd.Env = append(os.Environ(), "LDAPNOINIT=1") // no file of the machine's has a say
	cmd.Stdin = strings.NewReader(ldif)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}
