package token

import (
	"crypto/sha256"
	"testing"
	"time"
)

func benchVerifier(b *testing.B) (*Verifier, string) {
	key, err := GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	keys := []PublicKey{key.Public()}
	now := time.Now()
	raw, err := key.Sign(Claims{Issuer: "gatehouse", Subject: "alice", Audience: "gatehouse", Expires: now.Add(time.Hour),
		NotBefore: now.Add(-Leeway), Access: []Access{{Type: "repository", Name: "team/app", Actions: []string{"pull", "push"}}}})
	if err != nil {
		b.Fatal(err)
	}
	v := NewVerifier(func() []PublicKey { return keys },
		func() (string, string, bool) { return "gatehouse", "gatehouse", true }, time.Now)
	return v, raw
}

func BenchmarkVerifyWarm(b *testing.B) {
	v, raw := benchVerifier(b)
	if _, err := v.Verify(raw); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := v.Verify(raw); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkVerifyCold(b *testing.B) {
	v, raw := benchVerifier(b)
	if _, err := v.Verify(raw); err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(raw))
	b.ReportAllocs()
	for b.Loop() {
		v.state.Load().verified.set(&sum)[0].Store(nil)
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	key, err := GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	c := Claims{Issuer: "gatehouse", Subject: "alice", Audience: "gatehouse", Expires: time.Now().Add(time.Hour),
		NotBefore: time.Now(), Access: []Access{{Type: "repository", Name: "team/app", Actions: []string{"pull", "push"}}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := key.Sign(c); err != nil {
			b.Fatal(err)
		}
	}
}
