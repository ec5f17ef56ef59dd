package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"gatehouse/admin"
)

func (p *program) readOnlyVerb() *cobra.Command {
	verb := &cobra.Command{Use: "readonly", Short: "Make the running server read-only, and writable again", Args: noArgs,
		Long: `Turns storage.maintenance.readonly on and off while the server runs. Nothing is written down: the next start is as the
configuration says. While it is on, pushes and deletions are refused with 405 and nothing is removed in the background; requests
that were let in before are carried out.`,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	set := func(name, short string, on bool) *cobra.Command {
		return &cobra.Command{Use: name + " [CONFIG]", Short: short, Args: optionalConfig, RunE: func(c *cobra.Command, args []string) error {
			return p.withAdmin(c.Context(), args, looks, func(a *admin.Client) error {
				var now admin.ReadOnlyState
				err := a.Call(c.Context(), http.MethodPut, "/v1/readonly", map[string]bool{"enabled": on}, &now)
				if err != nil {
					return err
				}
				return p.printReadOnly(now, true)
			})
		}}
	}
	verb.AddCommand(
		set("on", "Refuse pushes and deletions until the next start", true),
		set("off", "Take pushes and deletions again", false),
		&cobra.Command{Use: "status [CONFIG]", Short: "Say whether the registry is read-only", Args: optionalConfig,
			RunE: func(c *cobra.Command, args []string) error {
				return p.withAdmin(c.Context(), args, looks, func(a *admin.Client) error {
					var now admin.ReadOnlyState
					if err := a.Call(c.Context(), http.MethodGet, "/v1/readonly", nil, &now); err != nil {
						return err
					}
					return p.printReadOnly(now, false)
				})
			}})
	return verb
}

// printReadOnly prints the state, and how long it lasts where it was just set.
func (p *program) printReadOnly(now admin.ReadOnlyState, set bool) error {
	word := map[bool]string{true: "on", false: "off"}[now.Enabled]
	switch {
	case set:
		word += " until the next start, which is as storage.maintenance.readonly says"
	case !now.Server:
		word += " by the configuration; no server runs"
	}
	_, err := fmt.Fprintf(p.stdout, "read-only: %s\n", word)
	return err
}
