package etcd

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"gatehouse/configs"
)

const (
	firstValue  = `{"realm":"http://console.example.com/api/v1/authorize/registry/","issuer":"auth server","service":"example.com"}`
	secondValue = `{"service":"registry.example.com","realm":"https://registry.example.com/token","issuer":"gatehouse"}`
)

var (
	firstToken  = configs.Token{Realm: "http://console.example.com/api/v1/authorize/registry/", Issuer: "auth server", Service: "example.com"}
	secondToken = configs.Token{Realm: "https://registry.example.com/token", Issuer: "gatehouse", Service: "registry.example.com"}
)

// badValues are what etcd may hold and nobody may get, with what the report says.
var badValues = map[string]struct{ value, want string }{
	"empty":              {"", "not JSON"},
	"space":              {" \n", "not JSON"},
	"broken":             {`{"realm":"https://a/","issuer":"i","service":"s"`, "not JSON: unexpected EOF"},
	"half a text":        {`{"realm":"https://a/","issuer":"i","service":"s`, "not JSON: unexpected EOF"},
	"half a field":       {`{"realm":"https://a/","issuer":`, "not JSON: unexpected EOF"},
	"no comma":           {`{"realm":"https://a/" "issuer":"i","service":"s"}`, "not JSON"},
	"key of another use": {`{1:"https://a/"}`, "not JSON"},
	"more after it":      {firstValue + firstValue, "goes on"},
	"rubbish after it":   {firstValue + "x", "goes on"},
	"array":              {"[" + firstValue + "]", "not a JSON object"},
	"text":               {`"https://a/"`, "not a JSON object"},
	"null":               {"null", "not a JSON object"},
	"empty object":       {"{}", "realm: empty\nservice: empty\nissuer: empty"},
	"empty realm":        {`{"realm":"","issuer":"i","service":"s"}`, "realm: empty"},
	"no issuer":          {`{"realm":"https://a/","service":"s"}`, "issuer: empty"},
	"empty service":      {`{"realm":"https://a/","issuer":"i","service":""}`, "service: empty"},
	"number":             {`{"realm":"https://a/","issuer":1,"service":"s"}`, "the field issuer is not a text"},
	"null field":         {`{"realm":null,"issuer":"i","service":"s"}`, "the field realm is not a text"},
	"object field":       {`{"realm":"https://a/","issuer":"i","service":{"s":"s"}}`, "the field service is not a text"},
	"twice":              {`{"realm":"https://a/","realm":"https://a/","issuer":"i","service":"s"}`, `the field "realm" is given twice`},
	"unknown twice":      {`{"x":1,"x":1,"realm":"https://a/","issuer":"i","service":"s"}`, `the field "x" is given twice`},
	"other case":         {`{"Realm":"https://a/","issuer":"i","service":"s"}`, `the field "Realm" must be written realm`},
	"folded":             {`{"realm":"https://a/","issuer":"i","service":"s","ſervice":"t"}`, "must be written service"},
	"relative realm":     {`{"realm":"/token","issuer":"i","service":"s"}`, "realm: not an absolute URL"},
	"other scheme":       {`{"realm":"ftp://a/","issuer":"i","service":"s"}`, "realm: not a URL that begins with http:// or https://"},
	"password in realm":  {`{"realm":"https://u:hunter2@a/","issuer":"i","service":"s"}`, "realm: a URL with a user or password in it"},
	"header injection":   {`{"realm":"https://a/\r\nSet-Cookie: x","issuer":"i","service":"s"}`, "realm: contains a character"},
	"quote":              {`{"realm":"https://a/","issuer":"i","service":"s\",error=\"x"}`, "service: contains a character"},
	"lone surrogate":     {`{"realm":"https://a/","issuer":"\ud800","service":"s"}`, "issuer: contains a character"},
	"invalid UTF-8":      {"{\"realm\":\"https://a/\",\"issuer\":\"\xff\",\"service\":\"s\"}", "not valid UTF-8"},
	"byte order mark":    {"\ufeff" + firstValue, "not JSON"},
	"too large":          {firstValue + strings.Repeat(" ", maxValue), "at most 65536 are read"},
	"too deep":           {`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `,` + firstValue[1:], "not JSON"},
}

func TestParseToken(t *testing.T) {
	for name, test := range map[string]struct {
		value   string
		want    configs.Token
		unknown []string
	}{
		"LAIN's":             {firstValue, firstToken, nil},
		"another order":      {secondValue, secondToken, nil},
		"white space":        {"\n " + strings.ReplaceAll(firstValue, ",", " ,\t") + "\r\n", firstToken, nil},
		"unknown fields":     {`{"type":{"a":[1,{"realm":"x"}]},"keys":null,` + firstValue[1:], firstToken, []string{"keys", "type"}},
		"escapes":            {strings.ReplaceAll(firstValue, "/", `\/`), firstToken, nil},
		"as large as can be": {firstValue + strings.Repeat(" ", maxValue-len(firstValue)), firstToken, nil},
	} {
		got, unknown, err := parseToken([]byte(test.value))
		if err != nil || got != test.want || !slices.Equal(unknown, test.unknown) {
			t.Errorf("%s: got %+v, %q, %v", name, got, unknown, err)
		}
	}
	for name, test := range badValues {
		got, _, err := parseToken([]byte(test.value))
		if err == nil || !strings.Contains(err.Error(), test.want) || got != (configs.Token{}) {
			t.Errorf("%s: got %+v, %v; want an error with %q", name, got, err, test.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 1024) {
			t.Errorf("%s: the error shows too much: %v", name, err)
		}
	}
}

// FuzzParseToken: what is accepted is complete, may stand in a header, is read the same by encoding/json, and is read the
// same again once it was written.
func FuzzParseToken(f *testing.F) {
	f.Add([]byte(firstValue))
	f.Add([]byte(secondValue))
	for _, bad := range badValues {
		if len(bad.value) < 1024 {
			f.Add([]byte(bad.value))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, unknown, err := parseToken(data)
		if err != nil {
			if got != (configs.Token{}) || unknown != nil {
				t.Errorf("%+v and %q beside the error %v", got, unknown, err)
			}
			return
		}
		if err := got.Validate(true); err != nil {
			t.Errorf("accepted %+v: %v", got, err)
		}
		if strings.ContainsAny(got.Realm+got.Service+got.Issuer, "\"\\\r\n\x00") {
			t.Errorf("accepted %+v, which cannot be quoted", got)
		}
		var standard configs.Token
		if err := json.Unmarshal(data, &standard); err != nil || standard != got {
			t.Errorf("got %+v, encoding/json gets %+v, %v", got, standard, err)
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := parseToken(written); err != nil || again != got {
			t.Errorf("%s: got %+v, %v; want %+v", written, again, err, got)
		}
	})
}

func TestLeaky(t *testing.T) {
	for version, want := range map[string]bool{
		"2.3.7": true, "3.3.27": true, "3.4.45": true, "3.5.32": true, "3.5.33": false, "3.6.13": true, "3.6.14": false, "3.7.0": true,
		"3.7.1": false, "3.7.3": false, "3.8.0-alpha.0": false, "4.0.0": false, "": false, "unknown": false,
	} {
		if got := leaky(version); got != want {
			t.Errorf("leaky(%q) = %v, want %v", version, got, want)
		}
	}
}
