package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Token is what there is to say of a refresh token. It is no secret.
type Token struct {
	ID      string `json:"id"`
	Account string `json:"account"`
	// Source proved the account when the token was made; Client asked for it.
	Source  string    `json:"source"`
	Service string    `json:"service"`
	Client  string    `json:"client"`
	Created time.Time `json:"created"`
	// Used is the last use, to the hour; Created where there was none.
	Used time.Time `json:"used"`
	// Expires is when it ends if nobody uses it.
	Expires time.Time `json:"expires"`
	// Problem says why nothing else is known, and is empty for a token that works.
	Problem string `json:"problem,omitempty"`
}

// List returns the tokens that have not expired, by account and age; "" is every account's. What cannot be read comes with a
// Problem and without an account.
func (t *Tokens) List(ctx context.Context, account string) ([]Token, error) {
	var list []Token
	now := t.now()
	err := t.each(ctx, t.groups(account), func(one Token) error {
		if (account == "" || one.Account == account) && (one.Problem != "" || now.Before(one.Expires)) {
			list = append(list, one)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Token) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// IDs returns the ids of all tokens that are kept of an account, or of all, expired or damaged ones too: those that have to be
// revoked to leave none.
func (t *Tokens) IDs(ctx context.Context, account string) (ids []string, err error) {
	err = t.each(ctx, t.groups(account), func(one Token) error {
		if account == "" || one.Account == account {
			ids = append(ids, one.ID)
		}
		return nil
	})
	return ids, err
}

// Revoke ends a token, for every request that begins after it returns, a power cut between or not. The error wraps fs.ErrNotExist
// where there is none of this id.
func (t *Tokens) Revoke(id string) error {
	if _, ok := ID(id); !ok || len(id) != idLength {
		return fmt.Errorf("%.40q is not the id of a refresh token: %w", id, fs.ErrNotExist)
	}
	if err := t.records(id[:groupLength]).Delete(id); err != nil {
		return err
	}
	if err := t.uses(id[:groupLength]).Delete(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err // the token has ended; what is left of it says nothing
	}
	return nil
}

// Run removes what has expired, now and every six hours, until ctx is done. It returns nil: what cannot be removed has ended all
// the same, and is logged.
func (t *Tokens) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := t.Sweep(ctx); err != nil && ctx.Err() == nil {
			t.log.ErrorContext(ctx, "expired refresh tokens could not be removed", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep removes what has expired, and uses of tokens that were revoked meanwhile. What cannot be read is logged and left.
func (t *Tokens) Sweep(ctx context.Context) error {
	err := t.each(ctx, t.groups(""), func(one Token) error {
		_, err := t.expire(ctx, one)
		return err
	})
	if err != nil {
		return err
	}
	return t.eachGroup("used", func(group string) error {
		return t.uses(group).All(func(id string, _ use, _ error) error {
			if _, err := t.records(group).Get(id); !errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return gone(t.uses(group).Delete(id))
		})
	})
}

// makeRoom removes what has expired among the tokens of an account and its neighbours, and then, of those of the account that are
// too many for another one, those that were not used for the longest time. One that was used just now stays unless there are very
// many: else many logins at once would end each other's.
func (t *Tokens) makeRoom(ctx context.Context, account string) error {
	var its []Token
	err := t.each(ctx, t.groups(account), func(one Token) error {
		ended, err := t.expire(ctx, one)
		if !ended && one.Account == account {
			its = append(its, one)
		}
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(its, func(a, b Token) int { return a.Used.Compare(b.Used) })
	for unused := t.now().Add(-2 * noteEvery); len(its) >= maxPerAccount; its = its[1:] {
		if its[0].Used.After(unused) && len(its) < maxInUse {
			break
		}
		if err := gone(t.Revoke(its[0].ID)); err != nil {
			return err
		}
		t.log.InfoContext(ctx, "refresh token revoked: its account has too many", "id", its[0].ID, "account", account, "used", its[0].Used)
	}
	return nil
}

// expire removes a token if it has expired, and reports whether it cannot be used.
func (t *Tokens) expire(ctx context.Context, one Token) (ended bool, err error) {
	if one.Problem != "" {
		t.log.WarnContext(ctx, "refresh token cannot be used", "id", one.ID, "problem", one.Problem)
		return true, nil
	}
	if t.now().Before(one.Expires) {
		return false, nil
	}
	return true, gone(t.Revoke(one.ID))
}

// each calls fn with the tokens of groups, expired ones too.
func (t *Tokens) each(ctx context.Context, groups func(func(group string) error) error, fn func(Token) error) error {
	return groups(func(group string) error {
		return t.records(group).All(func(id string, r record, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			one := Token{ID: id, Account: r.Account, Source: r.Source, Service: r.Service, Client: r.Client, Created: r.Created}
			if err == nil {
				one.Used, err = t.lastUse(id, r)
			}
			one.Expires = t.ends(r, one.Used)
			if err != nil {
				one.Problem = err.Error()
			}
			return fn(one)
		})
	})
}

// groups returns the iterator over the folders where tokens of an account are; "" is every account's.
func (t *Tokens) groups(account string) func(func(group string) error) error {
	if account != "" {
		return func(fn func(string) error) error { return fn(group(account)) }
	}
	return func(fn func(string) error) error { return t.eachGroup("tokens", fn) }
}

// eachGroup calls fn with the folders in a folder of ours.
func (t *Tokens) eachGroup(kind string, fn func(group string) error) error {
	entries, err := os.ReadDir(filepath.Join(t.dir, kind))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder of refresh tokens could not be read: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() || len(e.Name()) != groupLength || strings.Trim(e.Name(), alphabet) != "" {
			continue
		}
		if err := fn(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// gone is err, but not for what was removed by somebody else first.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
