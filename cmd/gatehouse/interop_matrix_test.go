package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
)

// TestInteropMatrix holds which registry accepts which token by what it was given: what README promises, and where a verifier
// cannot, what keeps it from it. A cell that changes with a new version is to be looked at.
func TestInteropMatrix(t *testing.T) {
	program := buildProgram(t)
	const two, threeZero, three = "docker-registry", "registry-3.0", "registry"
	for _, test := range []struct {
		algorithm string
		x5c       bool
		jwks      bool     // the published set in place of the exported bundle
		accepted  []string // by these; the others answer 401
	}{
		// The CA in the bundle, and the leaf in the token: everybody's way.
		{"ES256", true, false, []string{two, threeZero, three}},
		{"RS256", true, false, []string{two, threeZero, three}},
		// A key's certificate in the bundle: distribution 3 knows no libtrust id.
		{"ES256", false, false, []string{two}},
		{"RS256", false, false, []string{two}},
		// The published set, which registry 2 does not read: distribution 3 takes any kid of it. With x5c it wants a bundle.
		{"ES256", false, true, []string{threeZero, three}},
		{"RS256", false, true, []string{threeZero, three}},
		{"EdDSA", false, true, []string{threeZero, three}},
		{"ES256", true, true, nil},
		// Registry 2 has no EdDSA, whatever the token carries.
		{"EdDSA", true, false, []string{threeZero, three}},
	} {
		t.Run(fmt.Sprintf("%s/x5c=%t/jwks=%t", test.algorithm, test.x5c, test.jwks), func(t *testing.T) {
			i := startInterop(t, program, test.algorithm, test.x5c)
			trust := i.bundle
			if test.jwks {
				trust = i.jwks
			}
			line := trust(t)
			for _, name := range verifiers {
				if test.jwks && name == two {
					continue // it does not start without a bundle
				}
				want := http.StatusUnauthorized
				if slices.Contains(test.accepted, name) {
					want = http.StatusOK
				}
				i.asked(t, i.registry(t, name, line), want)
			}
			i.asked(t, i.gatehouse(t, line), http.StatusOK) // we take each of them
		})
	}
}

// asked wants a status for alice's token on the catalog and the base of a registry.
func (i *interop) asked(t *testing.T, l *lane, want int) {
	t.Helper()
	raw, _ := i.token(t, "registry:catalog:*")
	for _, path := range []string{"/v2/", "/v2/_catalog"} {
		r, err := http.NewRequest("GET", "https://"+l.host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+raw)
		answer, err := l.client(t).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s is answered %s, want %d", l.program, path, answer.Status, want)
		}
	}
}
