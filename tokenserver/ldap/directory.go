package ldap

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/tokenserver"
)

// entry is a user as the directory has it.
type entry struct {
	dn, account string
	memberOf    []string
	revision    string
}

// lasting are attributes that tell one entry from another of the same name that came after it, and aging those that change with
// the password: OpenLDAP's, Active Directory's, 389's and FreeIPA's.
var (
	lasting = []string{"entryUUID", "objectGUID", "nsUniqueId"}
	aging   = []string{"pwdChangedTime", "pwdLastSet", "passwordLastChanged", "krbLastPwdChange", "shadowLastChange"}
)

// memberOf is the attribute with the groups of an entry.
const memberOf = "memberOf"

// login is Authenticate without what is remembered. Whether there is such an entry or not, it takes a search and a bind.
func (d *Directory) login(account, password string) (tokenserver.Identity, error) {
	e, err := d.find(strings.ReplaceAll(d.filter, accountMark, ldap.EscapeFilter(account)))
	if errors.Is(err, tokenserver.ErrBadCredentials) {
		if err := d.bind("cn="+rand.Text()+","+d.base, password); err != nil && !errors.Is(err, tokenserver.ErrBadCredentials) {
			return tokenserver.Identity{}, err
		}
		return tokenserver.Identity{}, tokenserver.ErrBadCredentials
	}
	if err != nil {
		return tokenserver.Identity{}, err
	}
	if err := d.bind(e.dn, password); err != nil {
		return tokenserver.Identity{}, err
	}
	if !strings.EqualFold(e.account, account) {
		// Who came by another of his names must not be taken for somebody else who has this one.
		named, err := d.find(d.namedFilter(e.account))
		if err != nil {
			return tokenserver.Identity{}, err
		}
		if named.dn != e.dn {
			return tokenserver.Identity{}, tokenserver.ErrBadCredentials
		}
	}
	return d.identity(e)
}

// identity is who an entry is that was proven.
func (d *Directory) identity(e *entry) (tokenserver.Identity, error) {
	groups, err := d.groupsOf(e)
	if err != nil {
		return tokenserver.Identity{}, fmt.Errorf("the groups of %q cannot be told: %w", e.account, err)
	}
	return tokenserver.Identity{Account: e.account, Groups: groups, Revision: e.revision}, nil
}

// namedFilter finds the entry whose account this is, if the configured filter could find it by any name.
func (d *Directory) namedFilter(account string) string {
	return "(&(" + d.account + "=" + ldap.EscapeFilter(account) + ")" + strings.ReplaceAll(d.filter, accountMark, "*") + ")"
}

// find returns the one entry that filter finds. ErrBadCredentials: there is none, or none that can be an account.
func (d *Directory) find(filter string) (*entry, error) {
	attributes := append([]string{d.account}, lasting...)
	attributes = append(attributes, aging...)
	if d.groups.memberOf {
		attributes = append(attributes, memberOf)
	}
	result, err := d.search(d.base, ldap.ScopeWholeSubtree, filter, 2, attributes)
	many := is(err, ldap.LDAPResultSizeLimitExceeded)
	if err != nil && !many {
		return nil, fmt.Errorf("the user cannot be looked for: %w", err)
	}
	if many || len(result.Entries) > 1 {
		d.log.Warn("filter of the directory finds more than one entry, which so cannot log in", "filter", filter)
		return nil, tokenserver.ErrBadCredentials
	}
	if len(result.Entries) == 0 { // references to other servers are not followed
		return nil, tokenserver.ErrBadCredentials
	}
	return d.read(result.Entries[0])
}

// read makes an entry of what was found.
func (d *Directory) read(found *ldap.Entry) (*entry, error) {
	names := found.GetEqualFoldAttributeValues(d.account)
	refuse := func(why error) (*entry, error) {
		d.log.Warn("entry of the directory cannot log in", "dn", found.DN, "attribute", d.account, "err", why)
		return nil, tokenserver.ErrBadCredentials
	}
	if len(names) != 1 {
		return refuse(fmt.Errorf("it has %d values and not one", len(names)))
	}
	if err := tokenserver.CheckAccount(names[0]); err != nil {
		return refuse(err)
	}
	if d.reserved(names[0]) {
		return refuse(errors.New("another source has an account of this name"))
	}
	e := &entry{dn: found.DN, account: names[0], revision: revision(found)}
	for _, a := range found.Attributes {
		switch name := strings.ToLower(a.Name); {
		case name == strings.ToLower(memberOf):
			e.memberOf = a.Values
		case strings.HasPrefix(name, strings.ToLower(memberOf)+";range="):
			// Active Directory's way of saying that there are more than 1500.
			return nil, fmt.Errorf("the entry of %q is in too many groups to list; set groups.filter", e.account)
		}
	}
	return e, nil
}

// revision is a hash of what changes when the password or the entry does, as far as the directory tells us.
func revision(found *ldap.Entry) string {
	h := sha256.New()
	same := found.DN // where the entry has nothing that lasts
	for _, name := range lasting {
		if value := found.GetEqualFoldAttributeValue(name); value != "" {
			same = value
		}
	}
	fmt.Fprintf(h, "%q", same)
	for _, name := range aging {
		fmt.Fprintf(h, " %q", found.GetEqualFoldAttributeValues(name))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// search asks on one of the connections that are kept. A result that is cut off comes with its error.
func (d *Directory) search(base string, scope int, filter string, limit int, attributes []string) (*ldap.SearchResult, error) {
	began := d.metrics.begin()
	defer d.metrics.took("search", began)
	seconds := max(1, int(d.timeout.Seconds()))
	request := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, limit, seconds, false, filter, attributes, nil)
	for {
		c, fresh, err := d.servers.take()
		if err != nil {
			d.metrics.errors.WithLabelValues("connect").Inc()
			return nil, err
		}
		result, err := c.Search(request)
		if answered(err) {
			d.servers.keep(c)
			if err != nil && !is(err, ldap.LDAPResultSizeLimitExceeded) {
				d.metrics.errors.WithLabelValues("search").Inc()
			}
			return result, err
		}
		c.Close()
		if fresh {
			d.metrics.errors.WithLabelValues("search").Inc()
			return nil, err
		}
		// A server may close what it has not heard of for a while. All that rests is as old as this.
		d.servers.drain()
	}
}

// answered reports whether a server has answered, whatever it said, and can be asked on.
func answered(err error) bool {
	var answer *ldap.Error
	if !errors.As(err, &answer) {
		return err == nil
	}
	return answer.ResultCode < ldap.LDAPResultOther && !is(err, ldap.LDAPResultBusy, ldap.LDAPResultUnavailable)
}

// bind tries a password, on a connection that nothing else is asked on. ErrBadCredentials: it is wrong, or the entry may not log in.
func (d *Directory) bind(dn, password string) error {
	began := d.metrics.begin()
	defer d.metrics.took("bind", began)
	c, err := d.servers.dial(nil)
	if err != nil {
		d.metrics.errors.WithLabelValues("connect").Inc()
		return err
	}
	defer c.Close()
	err = c.Bind(dn, password)
	switch {
	case err == nil:
		d.metrics.binds.WithLabelValues("ok").Inc()
		return nil
	case is(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultNoSuchObject,
		ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform,
		ldap.LDAPResultInsufficientAccessRights):
		// The last three are how servers say that an account is locked.
		d.metrics.binds.WithLabelValues("refused").Inc()
		return tokenserver.ErrBadCredentials
	default:
		d.metrics.errors.WithLabelValues("bind").Inc()
		return fmt.Errorf("the password cannot be checked: %w", err)
	}
}
