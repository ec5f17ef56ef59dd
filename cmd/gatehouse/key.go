package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/configs"
	"gatehouse/registry"
	"gatehouse/tokenserver/keyring"
	"gatehouse/tokenserver/token"
)

// keyOptions is what the configuration says of the keys in the data folder. A key goes on verifying for as long as one of its
// tokens may be used: its life, the leeway of a verifier's clock, and an upload that it began.
func keyOptions(cfg *configs.Config, dataDir string, log *slog.Logger) keyring.Options {
	t := cfg.TokenServer
	return keyring.Options{
		Dir: filepath.Join(dataDir, "keys"), Algorithm: t.Keys.Algorithm, Rotate: t.Keys.Rotate, Prepublish: t.Keys.Prepublish,
		Retire: t.Lifetime + token.Leeway + registry.ContinueFor, X5C: t.X5C, Logger: log,
	}
}

func (p *program) keyVerb() *cobra.Command {
	verb := &cobra.Command{Use: "key", Short: "Manage the keys that tokens are signed with", Args: noArgs,
		Long: `Manages the keys that tokens are signed with, in the folder keys of the data. A running server follows within seconds; none
needs to run. A key goes through these states, and no token is refused meanwhile:

  published  verifiers are told of it; it signs from the time under NEXT on (tokenserver.keys.prepublish)
  active     it signs
  retiring   it signs no more; what it signed is accepted until the last of it has run out
  gone       what it signed is refused; it is listed for 30 days`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(p.keyListVerb(), p.keyRotateVerb(), p.keyImportVerb(), p.keyExportVerb())
	return verb
}

// keys returns the folder of keys that the configuration names.
func (p *program) keys(args []string) (*keyring.Folder, error) {
	cfg, err := p.config(args)
	if err != nil {
		return nil, err
	}
	if cfg.DataDir() == "" {
		return nil, configError{errors.New("storage in memory has no folder to keep keys in")}
	}
	return keyring.NewFolder(keyOptions(cfg, cfg.DataDir(), slog.New(slog.DiscardHandler)))
}

func (p *program) keyListVerb() *cobra.Command {
	var asJSON bool
	verb := &cobra.Command{
		Use: "ls [CONFIG]", Short: "List the keys, their states and what comes next", Args: optionalConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := p.keys(args)
			if err != nil {
				return err
			}
			list, err := folder.List()
			if err != nil {
				return err
			}
			return p.printKeys(list, asJSON)
		},
	}
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each key, one a line")
	return verb
}

// printKeys prints keys in a table, or as a JSON object a line.
func (p *program) printKeys(list []keyring.Info, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(p.stdout)
		for _, k := range list {
			if err := e.Encode(k); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(p.stdout)
	t.header = []string{"KID", "THUMBPRINT", "ALGORITHM", "STATE", "SINCE", "NEXT"}
	for _, k := range list {
		next, state := "", string(k.State)
		if !k.Next.IsZero() {
			next = k.Next.Format(time.RFC3339) + " " + string(k.NextState)
		}
		if k.Revoked {
			state += " (revoked)"
		}
		if err := t.row(k.KeyID, k.Thumbprint, k.Algorithm, state, k.Since.Format(time.RFC3339), next); err != nil {
			return err
		}
	}
	return t.w.Flush()
}

func (p *program) keyRotateVerb() *cobra.Command {
	var r keyring.Rotation
	verb := &cobra.Command{
		Use: "rotate [CONFIG]", Short: "Replace the key that signs",
		Long: `Makes a new key. It is published at once and signs after tokenserver.keys.prepublish, so that verifiers that keep a copy of
/.well-known/jwks.json know it by then; the old one is accepted until its last token has run out. Then lists the keys.

A key that somebody else may have: --now --revoke. The new key signs at once, and every other is refused at once, by this server; clients
get new tokens by themselves. Registries that trust certificates, and keep a copy of them, need the new "gatehouse key export"; where
tokens carry certificates (tokenserver.x5c) they accept an old key for up to some days more, unless they are told of a new CA:
--renew-ca.`,
		Args: optionalConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			if r.Revoke && !r.Now {
				return usageError{errors.New("--revoke needs --now: when every other key is dropped, the new one has to sign")}
			}
			folder, err := p.keys(args)
			if err != nil {
				return err
			}
			if r.RenewCA && !folder.X5C {
				return usageError{errors.New("--renew-ca is for tokenserver.x5c, which is off")}
			}
			if err := folder.Rotate(r); err != nil {
				return err
			}
			list, err := folder.List()
			if err != nil {
				return err
			}
			return p.printKeys(list, false)
		},
	}
	f := verb.Flags()
	f.BoolVar(&r.Now, "now", false, "sign with the new key at once, also where verifiers do not know it yet")
	f.BoolVar(&r.Revoke, "revoke", false, "with --now: refuse what every other key has signed, at once")
	f.BoolVar(&r.RenewCA, "renew-ca", false, "make another token CA, too")
	f.StringVar(&r.Algorithm, "algorithm", "", "ES256, RS256 or EdDSA (default tokenserver.keys.algorithm)")
	return verb
}

func (p *program) keyImportVerb() *cobra.Command {
	var certificate string
	var active bool
	verb := &cobra.Command{
		Use: "import KEY.pem [CONFIG]", Short: "Sign with a key that there is already",
		Long: `Takes a private key (PKCS #8, PKCS #1 or SEC 1, not encrypted; RSA of 2048 to 4096 bits, EC on P-256, Ed25519), so that registries
that trust it already accept the tokens: give the certificate of their rootcertbundle with --certificate, and "gatehouse key export"
prints it. The key signs after tokenserver.keys.prepublish, with --active at once, and at once where there is no other.`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return usageError{fmt.Errorf("%s takes a KEY.pem, and one CONFIG at most", c.CommandPath())}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := p.keys(args[1:])
			if err != nil {
				return err
			}
			id, err := importKey(folder, args[0], certificate, active)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "%s imported\n", id)
			return err
		},
	}
	verb.Flags().StringVar(&certificate, "certificate", "", "the key's certificate, `CERT.pem`, as registries have it in their rootcertbundle")
	verb.Flags().BoolVar(&active, "active", false, "sign with it at once")
	return verb
}

// importKey reads a key and its certificate, if any, from files, and imports them.
func importKey(folder *keyring.Folder, keyFile, certificateFile string, active bool) (string, error) {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return "", err
	}
	key, err := token.ParseKey(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", keyFile, err)
	}
	if certificateFile == "" {
		return folder.Import(key, nil, active)
	}
	if data, err = os.ReadFile(certificateFile); err != nil {
		return "", err
	}
	certificate, err := token.ParseCertificate(data)
	if err != nil {
		return "", fmt.Errorf("%s: %w", certificateFile, err)
	}
	return folder.Import(key, certificate, active)
}

func (p *program) keyExportVerb() *cobra.Command {
	return &cobra.Command{
		Use: "export [CONFIG]", Short: "Print the certificates that other registries verify tokens with",
		Long: `Prints PEM for another registry's auth.token.rootcertbundle: the token CA where tokens carry certificates (tokenserver.x5c), else a
certificate for each key that is published, active or retiring. Registry 3.x finds a key by its certificate only where tokens carry
certificates; else give it /.well-known/jwks.json as auth.token.jwks. A running server has the same at /token/ca.pem.`,
		Args: optionalConfig,
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := p.keys(args)
			if err != nil {
				return err
			}
			bundle, algorithms, err := folder.Export()
			if err != nil {
				return err
			}
			if slices.Contains(algorithms, token.EdDSA) {
				fmt.Fprintln(p.stderr, "gatehouse: warning: a certificate is for EdDSA, with which registry 2.x does not start")
			}
			_, err = p.stdout.Write(bundle)
			return err
		},
	}
}
