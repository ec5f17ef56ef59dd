package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/configs"
	"gatehouse/tokenserver/refresh"
)

func (p *program) tokenVerb() *cobra.Command {
	verb := &cobra.Command{Use: "token", Short: "List and revoke refresh tokens", Args: noArgs,
		Long: `Lists and revokes refresh tokens, which docker and others store in place of a password: of a running server, which follows at
once, and where none runs. Tokens that were got with one before live on for tokenserver.lifetime.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	verb.AddCommand(p.tokenLsVerb(), p.tokenRevokeVerb())
	return verb
}

func (p *program) tokenLsVerb() *cobra.Command {
	var account string
	var asJSON bool
	verb := &cobra.Command{
		Use: "ls [CONFIG]", Short: "List the refresh tokens that have not expired", Args: optionalConfig,
		Long: `Lists the refresh tokens that have not expired: whose they are, what proved the account, which client asked, and when each ends
if nobody uses it. The last use is true to the hour. No secret is shown, and none is kept.`,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("account") && account == "" {
				return usageError{errors.New("--account is empty; leave it out to list the refresh tokens of everybody")}
			}
			tokens, err := p.refreshTokens(args)
			if err != nil {
				return err
			}
			list, err := tokens.List(c.Context(), account)
			if err != nil {
				return err
			}
			return p.printTokens(list, asJSON)
		},
	}
	verb.Flags().StringVar(&account, "account", "", "only those of this account")
	verb.Flags().BoolVar(&asJSON, "json", false, "print a JSON object for each token, one a line")
	return verb
}

// printTokens prints a row for each token, or a line of JSON.
func (p *program) printTokens(list []refresh.Token, asJSON bool) error {
	if asJSON {
		lines := json.NewEncoder(p.stdout)
		for _, one := range list {
			if err := lines.Encode(one); err != nil {
				return err
			}
		}
		return nil
	}
	t := newTable(p.stdout)
	t.header = []string{"ID", "ACCOUNT", "SOURCE", "CLIENT", "CREATED", "USED", "EXPIRES"}
	for _, one := range list {
		cells := []string{one.ID, one.Account, one.Source, one.Client,
			one.Created.Format(time.RFC3339), one.Used.Format(time.RFC3339), one.Expires.Format(time.RFC3339)}
		if one.Problem != "" {
			cells = []string{one.ID, "", "", "", "", "", one.Problem}
		}
		if err := t.row(cells...); err != nil {
			return err
		}
	}
	return t.w.Flush()
}

func (p *program) tokenRevokeVerb() *cobra.Command {
	var account string
	var all bool
	verb := &cobra.Command{
		Use: "revoke ID... [CONFIG] | --account NAME [CONFIG] | --all [CONFIG]", Short: "Revoke refresh tokens",
		Long: `Revokes refresh tokens: the next use of one is refused. ID is from ` + "`gatehouse token ls`" + `; a refresh token that was found
where it should not be will do, too. When one of the IDs is not there, the others are revoked all the same.`,
		Args: func(c *cobra.Command, args []string) error {
			ids, config := revokeArgs(args)
			if len(config) > 0 && strings.HasPrefix(config[0], refresh.Prefix) {
				return usageError{errors.New("a refresh token on the command line is cut or mistyped; take its ID")} // it may be a secret
			}
			if len(config) > 1 || (len(ids) > 0) == (account != "" || all) || c.Flags().Changed("account") && account == "" {
				return usageError{fmt.Errorf(
					"%s takes one ID or more, or --account NAME, or --all; and one CONFIG at most, as the last", c.CommandPath())}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ids, config := revokeArgs(args)
			tokens, err := p.refreshTokens(config)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				if ids, err = tokens.IDs(c.Context(), account); err != nil {
					return err
				}
				if len(ids) == 0 { // a name that is mistyped must not look like one whose tokens are gone
					fmt.Fprintf(p.stderr, "gatehouse: no refresh tokens%s\n", of(account))
				}
			}
			return p.revoke(tokens, ids)
		},
	}
	verb.Flags().StringVar(&account, "account", "", "revoke all of this account")
	verb.Flags().BoolVar(&all, "all", false, "revoke all there are")
	verb.MarkFlagsMutuallyExclusive("account", "all")
	return verb
}

// of names an account in a sentence, if there is one.
func of(account string) string {
	if account == "" {
		return ""
	}
	return " of " + shown(account)
}

// revokeArgs tells IDs from what follows them. Refresh tokens count by the id that is in them.
func revokeArgs(args []string) (ids, rest []string) {
	for i, arg := range args {
		id, ok := refresh.ID(arg)
		if !ok {
			return ids, args[i:]
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// revoke revokes tokens one by one, and says of each that it did.
func (p *program) revoke(tokens *refresh.Tokens, ids []string) error {
	var errs []error
	for _, id := range ids {
		switch err := tokens.Revoke(id); {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("there is no refresh token %s; `gatehouse token ls` lists those that there are", id))
		case err != nil:
			errs = append(errs, err)
		default:
			fmt.Fprintf(p.stdout, "%s revoked\n", id)
		}
	}
	return errors.Join(errs...)
}

// refreshTokens returns the refresh tokens of the configured server.
func (p *program) refreshTokens(args []string) (*refresh.Tokens, error) {
	cfg, err := p.config(args)
	if err != nil {
		return nil, err
	}
	if cfg.DataDir() == "" {
		return nil, configError{errors.New("storage.inmemory keeps no refresh token that a verb could reach")}
	}
	return newRefreshTokens(cfg, cfg.DataDir(), p.verbLog())
}

// newRefreshTokens returns the refresh tokens kept in a data folder, for a server or a verb.
func newRefreshTokens(cfg *configs.Config, dataDir string, log *slog.Logger) (*refresh.Tokens, error) {
	r := cfg.TokenServer.Refresh
	return refresh.New(refresh.Options{Dir: filepath.Join(dataDir, "refresh"), Idle: r.Idle, Absolute: r.Absolute, Logger: log})
}
