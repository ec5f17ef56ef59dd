package tokenserver

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// maxForm bounds the body of a POST in bytes.
const maxForm = 64 << 10

// formTimeout bounds the time for all of it: a byte now and then must not hold a connection.
const formTimeout = 30 * time.Second

// request is what a client asks for, in whichever form.
type request struct {
	// oauth says that the answer is to have OAuth2's members.
	oauth bool
	// presented says that there were credentials: the request is then answered for them or refused, never as anonymous.
	presented         bool
	account, password string
	scopes            []string
}

// readRequest reads a GET of the token specification, or a POST of the OAuth2 one. Parameters that decide nothing here
// (service, client_id, offline_token, access_type) are not looked at. Secrets are taken from the Authorization header and
// from a body, never from a URL. Errors are refusals.
func readRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query of the URL cannot be read")
	}
	var (
		asked *request
		form  = query
	)
	switch r.Method {
	case http.MethodGet:
		asked, err = readBasic(r)
	case http.MethodPost:
		var body url.Values
		if body, err = readForm(w, r); err != nil {
			return nil, err
		}
		// Some clients send a POST with everything in the query; a scope may be in both.
		form = url.Values{}
		for _, values := range [...]url.Values{body, query} {
			for name, v := range values {
				form[name] = append(form[name], v...)
			}
		}
		asked, err = readGrant(r, form, body.Get("password"))
	default:
		return nil, wrongMethod
	}
	if err != nil {
		return nil, err
	}
	asked.scopes = form["scope"]
	// Clients repeat the name here. One that names another account than it proves is confused, and would stay so.
	if claimed := form.Get("account"); asked.presented && claimed != "" && claimed != asked.account {
		return nil, otherAccount
	}
	return asked, nil
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
	return &request{presented: account != "" || password != "", account: account, password: password}, nil
}

// readForm returns the parameters in the body of a POST. A body of no stated type is allowed if there is none.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
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
	return r.PostForm, nil
}

// readGrant reads credentials as the grant type in form says. Without one they are taken from the Authorization header, as
// for a GET. form has no say in the password.
func readGrant(r *http.Request, form url.Values, password string) (*request, error) {
	switch grant := form.Get("grant_type"); grant {
	case "password":
		account := form.Get("username")
		if account == "" || password == "" {
			return nil, badRequest("the grant type password needs username and password in the body")
		}
		return &request{oauth: true, presented: true, account: account, password: password}, nil
	case "":
		if r.Header.Get("Authorization") == "" {
			return nil, badRequest("grant_type is missing")
		}
		asked, err := readBasic(r)
		if err != nil {
			return nil, err
		}
		asked.oauth = true
		return asked, nil
	default:
		// 400, because clients then try again with GET.
		return nil, unsupportedGrant(fmt.Sprintf("the grant type %.40q is not supported; use password", grant))
	}
}
