package tokenserver

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Paths are where clients ask for tokens; a Server answers alike at all of them.
var Paths = []string{
	"/token",      // the realm of challenges that name no other
	"/auth/token", // where token servers that stand beside a registry often are
	"/v2/token",   // for what lets through /v2/ only; no repository's path ends so soon behind /v2/
	// LAIN's console, which configurations in etcd still name as the realm, written with its slash and without.
	"/api/v1/authorize/registry/",
}

const (
	// maxForm bounds the body of a POST in bytes, maxQuery the query of a URL: hundreds of scopes fit.
	maxForm  = 64 << 10
	maxQuery = 64 << 10
	// formTimeout bounds the time for all of a body: a byte now and then must not hold a connection.
	formTimeout = 30 * time.Second
	// maxClient bounds in bytes what is kept of a client_id: it is for people to read.
	maxClient = 64
)

// request is what a client asks for, in whichever form.
type request struct {
	// oauth says that the answer is to have OAuth2's members.
	oauth bool
	// presented says that there were credentials: the request is then answered for them or refused, never as anonymous.
	presented bool
	login
	// shown is who the connection's certificate proves, for a request that presents nothing else.
	shown  Identity
	scopes []string
	// client is what the client calls itself, printable and cut to maxClient.
	client string
	// offline asks for a refresh token as well.
	offline bool
}

// readRequest reads a GET of distribution's token specification (token.md), or a POST of its OAuth2 one (oauth.md). HEAD is a GET
// that leaves nothing behind. The parameter service decides nothing: there is one service here. Secrets are taken from the
// Authorization header and from a body, never from a URL, where logs and histories would have them. Errors are refusals.
func readRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, queryTooLong
	}
	form, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query of the URL cannot be read")
	}
	var asked *request
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if err = checkOnce(form); err == nil {
			asked, err = readBasic(r)
		}
	case http.MethodPost:
		if form, err = readForm(w, r, form); err == nil {
			asked, err = readGrant(r, form)
		}
	default:
		return nil, wrongMethod
	}
	if err != nil {
		return nil, err
	}
	if len(asked.account) > maxAccount || strings.ContainsFunc(asked.account, unicode.IsControl) {
		return nil, badCredentials // no source has such an account, and no log should have its name
	}
	asked.scopes = form["scope"]
	asked.claimed = form.Get("account")
	asked.client = clientName(form.Get("client_id"))
	asked.offline = form.Get("offline_token") == "true" && r.Method != http.MethodHead ||
		form.Get("access_type") == "offline" && r.Method == http.MethodPost
	return asked, nil
}

// once are the parameters of which a second one could contradict the first: two readers would take the request for two
// different ones (RFC 6749 section 3.2 allows no parameter twice; of scopes clients send many).
var once = [...]string{"grant_type", "username", "password", "refresh_token", "account", "client_id", "access_type", "offline_token"}

func checkOnce(form url.Values) error {
	for _, name := range once {
		for i, values := 1, form[name]; i < len(values); i++ {
			if values[i] != values[0] {
				return badRequest("the parameter " + name + " is given twice, with different values")
			}
		}
	}
	return nil
}

// clientName is what is kept of a client_id: no more than maxClient bytes, all of them printable.
func clientName(text string) string {
	text = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text[:min(len(text), 4*maxClient)])
	for len(text) > maxClient {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text
}

// readBasic reads credentials from the Authorization header. None, or Basic with nothing in it, is anonymous.
func readBasic(r *http.Request) (*request, error) {
	switch len(r.Header.Values("Authorization")) {
	case 0:
		return &request{}, nil
	case 1:
	default:
		return nil, badRequest("there is more than one Authorization header")
	}
	account, password, ok := r.BasicAuth()
	if !ok {
		return nil, otherScheme
	}
	return &request{presented: account != "" || password != "", login: login{account: account, secret: password}}, nil
}

// readForm returns the parameters in the body of a POST and, behind them, those of query: some clients send everything there, and
// a scope may be in both. Only a body has secrets. A body of no stated type is allowed if there is none.
func readForm(w http.ResponseWriter, r *http.Request, query url.Values) (url.Values, error) {
	if given := r.Header.Get("Content-Type"); given != "" {
		if typ, _, err := mime.ParseMediaType(given); err != nil || typ != "application/x-www-form-urlencoded" {
			return nil, badRequest("the body should be application/x-www-form-urlencoded")
		}
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTimeout)) // where the writer can
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, tooLong
	case err != nil:
		return nil, badRequest("the body cannot be read as a form")
	}
	form := make(url.Values, len(r.PostForm)+len(query))
	for name, values := range r.PostForm {
		form[name] = append(form[name], values...)
	}
	for name, values := range query {
		if name != "password" && name != "refresh_token" {
			form[name] = append(form[name], values...)
		}
	}
	return form, checkOnce(form)
}

// readGrant reads credentials as the grant type in form says. Without one they are taken from the Authorization header, as
// for a GET.
func readGrant(r *http.Request, form url.Values) (*request, error) {
	asked := &request{oauth: true, presented: true}
	switch form.Get("grant_type") {
	case "password":
		asked.account, asked.secret = form.Get("username"), form.Get("password")
		if asked.account == "" || asked.secret == "" {
			return nil, badRequest("the grant type password needs username and password in the body")
		}
	case "refresh_token":
		asked.secret, asked.refresh = form.Get("refresh_token"), true
		if asked.secret == "" {
			return nil, badRequest("the grant type refresh_token needs refresh_token in the body")
		}
	case "":
		if r.Header.Get("Authorization") == "" {
			return nil, badRequest("grant_type is missing")
		}
		basic, err := readBasic(r)
		if err != nil {
			return nil, err
		}
		basic.oauth = true
		return basic, nil
	default:
		return nil, unsupportedGrant
	}
	// Of two accounts none is the right one. RFC 6749 section 2.3 allows one way to authenticate in a request.
	if account, secret, basic := r.BasicAuth(); basic && account+secret != "" {
		return nil, badRequest("there are credentials in the Authorization header and in the body; send one of them")
	}
	return asked, nil
}
