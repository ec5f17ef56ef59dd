package access

import (
	"strings"
	"testing"

	"gatehouse/configs"
)

// TestEmptyIsNotAbsent: rules that no file was read for are held to the same: a list that is there and empty restricts nothing.
func TestEmptyIsNotAbsent(t *testing.T) {
	whole := configs.Rule{Account: configs.Names{"*"}, Repository: configs.Names{"**"}, Actions: []string{"*"}}
	if _, err := New([]configs.Rule{whole}, false); err != nil {
		t.Fatal(err)
	}
	for key, empty := range map[string]func(r *configs.Rule){
		"group":      func(r *configs.Rule) { r.Group = configs.Names{} },
		"address":    func(r *configs.Rule) { r.Address = configs.Names{} },
		"account":    func(r *configs.Rule) { r.Account, r.Group = configs.Names{}, configs.Names{"dev"} },
		"repository": func(r *configs.Rule) { r.Repository, r.Actions = configs.Names{}, []string{"catalog"} },
	} {
		r := whole
		empty(&r)
		if _, err := New([]configs.Rule{r}, false); err == nil || !strings.Contains(err.Error(), "tokenserver.access[0]."+key+": empty") {
			t.Errorf("an empty %s: %v", key, err)
		}
	}
	for _, r := range []configs.Rule{
		{Account: configs.Names{}, Anonymous: true, Repository: configs.Names{"**"}, Actions: []string{"pull"}},
		{Account: configs.Names{""}, Repository: configs.Names{"**"}, Actions: []string{"pull"}},
		{Group: configs.Names{""}, Repository: configs.Names{"**"}, Actions: []string{"pull"}},
		{Account: configs.Names{"*"}, Address: configs.Names{""}, Repository: configs.Names{"**"}, Actions: []string{"pull"}},
	} {
		if _, err := New([]configs.Rule{r}, false); err == nil {
			t.Errorf("%+v was read", r)
		}
	}
}
