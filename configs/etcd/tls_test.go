package etcd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/testbench"
)

// A server at an https endpoint must show a certificate that the system trusts. The test runs itself a second time, because
// a process reads the system's roots only once.
func TestTLS(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_TLS") == "" {
		testbench.Tool(t, "etcd")
		testbench.Tool(t, "etcdctl")
		dir := t.TempDir()
		writeCertificate(t, dir)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^TestTLS$")
		cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_TLS="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "cert.pem"), "SSL_CERT_DIR="+dir)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestTLS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	trusted := os.Getenv("GATEHOUSE_TEST_TLS")
	other := t.TempDir()
	writeCertificate(t, other)
	e := testbench.StartEtcd(t)
	e.Put(testKey, firstValue)

	r := run(t, serveTLS(t, trusted, host(e)), "")
	r.awaitToken(firstToken)

	r = run(t, serveTLS(t, other, host(e)), "")
	r.await("the refusal", func(st Status) bool { return !st.Connected && st.Err != nil })
	if got := r.auth.Load(); got != nil {
		t.Errorf("took %+v from a server that the system does not trust", got)
	}
}

// serveTLS answers with the certificate in dir and relays to target; it returns its URL.
func serveTLS(t *testing.T, dir, target string) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	n := newNetwork(t, target)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	n.serve(t, l)
	return "https://" + l.Addr().String()
}

// writeCertificate makes cert.pem, of a server at 127.0.0.1 that is its own CA, and key.pem in dir.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
