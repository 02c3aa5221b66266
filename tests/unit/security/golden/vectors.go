// Vectors for tests/unit/security, made by NATS's own libraries and by unexported functions of nats-server.
//
//	mkdir /tmp/vectors && cp vectors.go /tmp/vectors && cd /tmp/vectors && touch empty.s
//	go mod init vectors && go get github.com/nats-io/nats-server/v2@v2.15.0 github.com/nats-io/jwt/v2@v2.8.2
//	go mod tidy && go run . FOLDER
//
// Keys come from fixed seeds and the clock is not asked except by the libraries' Encode, whose "iat" is kept.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"
	"unsafe"

	"github.com/nats-io/jwt/v2"
	v1 "github.com/nats-io/jwt/v2/v1compat"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
)

//go:linkname expand github.com/nats-io/nats-server/v2/server.processUserPermissionsTemplate
func expand(lim jwt.UserPermissionLimits, u *jwt.UserClaims, acc *server.Account) (jwt.UserPermissionLimits, error)

//go:linkname validateTimesAt github.com/nats-io/nats-server/v2/server.validateTimesAt
func validateTimesAt(claims *jwt.UserClaims, now time.Time) (bool, time.Duration)

//go:linkname validateSrc github.com/nats-io/nats-server/v2/server.validateSrc
func validateSrc(claims *jwt.UserClaims, host string) bool

type object = map[string]any

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func pair(prefix nkeys.PrefixByte, letter byte) nkeys.KeyPair {
	seed := must(nkeys.EncodeSeed(prefix, bytes.Repeat([]byte{letter}, 32)))
	return must(nkeys.FromSeed(seed))
}

func pub(kp nkeys.KeyPair) string { return must(kp.PublicKey()) }

var (
	op    = pair(nkeys.PrefixByteOperator, 'o')
	opSk  = pair(nkeys.PrefixByteOperator, 'p')
	acc   = pair(nkeys.PrefixByteAccount, 'a')
	sk    = pair(nkeys.PrefixByteAccount, 'k')
	sk2   = pair(nkeys.PrefixByteAccount, 'l')
	other = pair(nkeys.PrefixByteAccount, 'b')
	user  = pair(nkeys.PrefixByteUser, 'u')
	srv   = pair(nkeys.PrefixByteServer, 'n')
	clu   = pair(nkeys.PrefixByteCluster, 'c')
	xa    = pair(nkeys.PrefixByteCurve, 'x')
	xb    = pair(nkeys.PrefixByteCurve, 'y')
)

var signers = map[string]nkeys.KeyPair{"O": op, "A": acc, "B": other, "K": sk, "U": user, "N": srv, "X": xa}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func keys() any {
	var good []object
	for _, kp := range []nkeys.KeyPair{op, acc, user, srv, clu, xa} {
		entry := object{"public": pub(kp), "seed": string(must(kp.Seed()))}
		if sig, err := kp.Sign([]byte("phloem")); err == nil {
			entry["signature"] = base64.StdEncoding.EncodeToString(sig)
		}
		good = append(good, entry)
	}
	u, s := pub(user), string(must(user.Seed()))
	private := string(must(user.PrivateKey()))
	short := string(must(nkeys.Encode(nkeys.PrefixByteUser, []byte("short"))))
	last := func(t string, c string) string { return t[:len(t)-1] + c }
	var bad []object
	for _, k := range []string{
		"", "A", "AB", "ABC", "UB", "a", "AAAAAAA", "AAAAAAAA", "AAAAAAAAA", "AAAAAAAAAA", u, u[:55], u[1:], u + "A", u + "=", u + "\n",
		"\r" + u[:10] + "\n" + u[10:], last(u, "B"), last(u, "8"), "u" + u[1:], u + " ", s, s[:57], last(s, "A"), last(s, "B"), last(s, "C"), last(s, "D"),
		s + "A", s + "AAAAAA", short, private, "é", "UA" + "\x00",
	} {
		_, err := nkeys.FromPublicKey(k)
		_, seedErr := nkeys.FromSeed([]byte(k))
		bad = append(bad, object{"text": k, "public": text(err), "seed": text(seedErr)})
	}
	nonce := bytes.Repeat([]byte{7}, 24)
	sealed := must(xa.SealWithRand([]byte("a secret"), pub(xb), bytes.NewReader(nonce)))
	return object{"good": good, "bad": bad, "sealed": base64.StdEncoding.EncodeToString(sealed)}
}

func b64(s []byte) string { return base64.RawURLEncoding.EncodeToString(s) }

func tokens() any {
	var found []string
	add := func(c jwt.Claims, kp nkeys.KeyPair) string {
		t := must(c.Encode(kp))
		found = append(found, t)
		return t
	}
	o := jwt.NewOperatorClaims(pub(op))
	o.Name = "The <operator> & \"sons\" \u2028 é"
	add(o, op)
	o.SigningKeys.Add(pub(opSk))
	o.AccountServerURL = "https://host/jwt/v1"
	o.OperatorServiceURLs.Add("nats://a:4222", "wss://b")
	o.SystemAccount = pub(acc)
	o.AssertServerVersion = "2.10.0"
	o.StrictSigningKeyUsage = true
	o.Tags.Add("One", "two:2")
	o.Expires, o.NotBefore, o.Audience = 4000000000, 5, "aud"
	add(o, op)

	act := jwt.NewActivationClaims(pub(other))
	act.ImportSubject, act.ImportType = "private.*", jwt.Stream
	act.Name = "act"
	actToken := add(act, acc)
	act2 := jwt.NewActivationClaims(pub(other))
	act2.ImportSubject, act2.ImportType, act2.IssuerAccount = "svc", jwt.Service, pub(acc)
	add(act2, sk)

	a := jwt.NewAccountClaims(pub(acc))
	add(a, op)
	a.Name = "A"
	a.Exports.Add(&jwt.Export{Name: "z", Subject: "z.*.>", Type: jwt.Stream, TokenReq: true, Revocations: jwt.RevocationList{"*": 5, pub(user): 7}, Info: jwt.Info{Description: "d", InfoURL: "http://x"}},
		&jwt.Export{Subject: "svc.*", Type: jwt.Service, ResponseType: jwt.ResponseTypeStream, ResponseThreshold: time.Second, AccountTokenPosition: 2, Advertise: true, AllowTrace: true,
			Latency: &jwt.ServiceLatency{Sampling: 50, Results: "lat"}},
		&jwt.Export{Subject: "a", Type: jwt.Service, Latency: &jwt.ServiceLatency{Sampling: jwt.Headers, Results: "l"}})
	a.Limits.MemoryStorage, a.Limits.DiskStorage, a.Limits.Streams, a.Limits.Consumer = 1, 2, 3, 4
	a.Limits.MaxAckPending, a.Limits.MemoryMaxStreamBytes, a.Limits.DiskMaxStreamBytes, a.Limits.MaxBytesRequired = 5, 6, 7, true
	a.SigningKeys.Add(pub(sk))
	scope := jwt.NewUserScope()
	scope.Key, scope.Role, scope.Description = pub(sk2), "device", "of one device"
	scope.Template.Pub.Allow.Add("d.{{name()}}.>", "t.{{tag(team)}}")
	scope.Template.Sub.Deny.Add("x q")
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 3, Expires: time.Minute}
	scope.Template.Src.Add("10.0.0.0/8")
	scope.Template.BearerToken, scope.Template.ProxyRequired = true, true
	scope.Template.AllowedConnectionTypes.Add("MQTT")
	a.SigningKeys.AddScopedSigner(scope)
	a.Revocations = jwt.RevocationList{"*": 9, pub(user): 11}
	a.DefaultPermissions.Sub.Allow.Add("def.>")
	a.AddMapping("m", jwt.WeightedMapping{Subject: "n", Weight: 40}, jwt.WeightedMapping{Subject: "o", Cluster: "c"})
	a.AddMapping("b", jwt.WeightedMapping{Subject: "c"})
	a.EnableExternalAuthorization(pub(user))
	a.Authorization.AllowedAccounts.Add(pub(other))
	a.Authorization.XKey = pub(xa)
	a.Trace = &jwt.MsgTrace{Destination: "trace", Sampling: 20}
	a.ClusterTraffic = "owner"
	a.Description, a.InfoURL = "desc", "https://x/y"
	a.Tags.Add("region:eu", "region:us")
	add(a, opSk)
	a.Limits.JetStreamLimits = jwt.JetStreamLimits{}
	a.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{"R3": {MemoryStorage: 1}, "R1": {DiskStorage: -1, Streams: -1}}
	add(a, acc)
	b := jwt.NewAccountClaims(pub(other))
	b.Imports.Add(&jwt.Import{Name: "i", Subject: "private.x", Account: pub(acc), Token: actToken, LocalSubject: "mine.x", Type: jwt.Stream, AllowTrace: true},
		&jwt.Import{Subject: "a", Account: pub(acc), To: "b", Type: jwt.Service, Share: true})
	add(b, op)

	u := jwt.NewUserClaims(pub(user))
	add(u, acc)
	u.Name = "U"
	u.Pub.Allow.Add("p.>", "q")
	u.Pub.Deny.Add("p.no")
	u.Sub.Allow.Add("s queue")
	u.Resp = &jwt.ResponsePermission{}
	u.Src.Add("192.168.0.0/16", "::1/128")
	u.Times = []jwt.TimeRange{{Start: "08:00:00", End: "17:30:00"}}
	u.Locale = "Europe/Berlin"
	u.Subs, u.Data, u.Limits.Payload = 10, 20, 30
	u.BearerToken, u.ProxyRequired = true, true
	u.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeLeafnode)
	u.IssuerAccount = pub(acc)
	u.Tags.Add("Team:Blue")
	add(u, sk)
	scoped := jwt.NewUserClaims(pub(user))
	scoped.SetScoped(true)
	scoped.IssuerAccount, scoped.Name = pub(acc), "dev1"
	userToken := add(scoped, sk2)

	rq := jwt.NewAuthorizationRequestClaims(pub(acc))
	rq.Audience, rq.UserNkey, rq.Expires = "nats-authorization-request", pub(user), 4000000000
	rq.Server = jwt.ServerID{Name: "n", Host: "h", ID: pub(srv), Version: "2", Cluster: "c", Tags: jwt.TagList{"t"}, XKey: pub(xa)}
	rq.ClientInformation = jwt.ClientInformation{Host: "127.0.0.1", ID: 5, User: "u", Name: "n", Kind: "Client", Type: "nats", Nonce: "nonce"}
	rq.ConnectOptions = jwt.ConnectOptions{Username: "u", Password: "p", Protocol: 1}
	rq.TLS = &jwt.ClientTLS{Version: "1.3", Certs: jwt.StringList{"PEM"}, VerifiedChains: []jwt.StringList{{"a", "b"}}}
	add(rq, srv)
	rs := jwt.NewAuthorizationResponseClaims(pub(user))
	rs.Audience, rs.Jwt, rs.IssuerAccount = pub(srv), userToken, pub(acc)
	add(rs, sk)

	g := jwt.NewGenericClaims(pub(op))
	g.Data["accounts"] = []string{pub(acc)}
	generic := must(g.Encode(op))

	old := []string{}
	v1o := v1.NewOperatorClaims(pub(op))
	v1o.Name, v1o.SigningKeys = "old", v1.StringList{pub(opSk)}
	v1o.Tags.Add("T")
	old = append(old, must(v1o.Encode(op)))
	v1a := v1.NewAccountClaims(pub(acc))
	v1a.Name, v1a.SigningKeys = "olda", v1.StringList{pub(sk)}
	v1a.Exports.Add(&v1.Export{Subject: "x", Type: v1.Service})
	old = append(old, must(v1a.Encode(op)))
	v1u := v1.NewUserClaims(pub(user))
	v1u.Name, v1u.IssuerAccount, v1u.BearerToken, v1u.Src = "oldu", pub(acc), true, "10.0.0.0/8, 1.2.3.4/32"
	v1u.Tags.Add("T:x")
	v1u.Permissions.Pub.Allow.Add("x")
	old = append(old, must(v1u.Encode(sk)))
	v1c := v1.NewActivationClaims(pub(other))
	v1c.ImportSubject, v1c.ImportType, v1c.Name = "x.>", v1.Stream, "oldc"
	old = append(old, must(v1c.Encode(acc)))
	var migrated []object
	for _, t := range old {
		c := must(jwt.Decode(t))
		migrated = append(migrated, object{"token": t, "claims": json.RawMessage(must(json.Marshal(c)))})
	}
	var hashes []object
	for _, s := range []string{"foo", "foo.*", "foo.*.bar", "*", ">", "*.a", "a.>"} {
		h := jwt.NewActivationClaims(pub(other))
		h.ImportSubject, h.Issuer = jwt.Subject(s), pub(acc)
		hashes = append(hashes, object{"subject": s, "hash": must(h.HashID())})
	}
	cr := must(jwt.FormatUserConfig(userToken, must(user.Seed())))
	return object{"tokens": found, "generic": generic, "v1": migrated, "hashes": hashes, "creds": string(cr)}
}

func decoded() any {
	header := `{"typ":"JWT","alg":"ed25519-nkey"}`
	var found []object
	add := func(signer, payload, head string) {
		kp := signers[signer]
		signed := b64([]byte(head)) + "." + b64([]byte(payload))
		sig, _ := kp.Sign([]byte(signed))
		claims, err := jwt.Decode(signed + "." + b64(sig))
		entry := object{"signer": signer, "payload": payload, "error": text(err)}
		if head != header {
			entry["header"] = head
		}
		if err == nil {
			vr := jwt.CreateValidationResults()
			claims.Validate(vr)
			issues := [][]any{}
			for _, i := range vr.Issues {
				issues = append(issues, []any{i.Description, i.Blocking, i.TimeCheck})
			}
			entry["issues"] = issues
		}
		found = append(found, entry)
	}
	O, A, B, K, U, N, X := pub(op), pub(acc), pub(other), pub(sk), pub(user), pub(srv), pub(xa)
	for _, body := range []string{
		``, `"version":0`, `"version":1`, `"version":3`,
	} {
		for _, kind := range []string{"operator", "account", "user", "activation", "authorization_request", "authorization_response", "other"} {
			sep := ","
			if body == "" {
				sep = ""
			}
			add("A", fmt.Sprintf(`{"iss":"%s","sub":"x","nats":{"type":"%s"%s%s}}`, A, kind, sep, body), header)
		}
	}
	oper := func(nats string) {
		add("O", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"operator","version":2,%s}}`, O, O, nats), header)
	}
	for _, n := range []string{`"signing_keys":["x"]`, `"signing_keys":["` + A + `"]`, `"system_account":"` + O + `"`, `"account_server_url":"x"`, `"account_server_url":"http://x"`,
		`"operator_service_urls":["nats://a:1","tls://a","http://a","nats://u:p@a","nats://a/b","","ws://a","localhost"]`,
		`"assert_server_version":"1"`, `"assert_server_version":"1.a.2"`, `"assert_server_version":"1.-2.3"`, `"assert_server_version":"1.2.3"`, `"tags":null`, `"SIGNING_KEYS":["` + O + `"]`} {
		oper(n)
	}
	account := func(nats string) {
		add("O", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"account","version":2,%s}}`, O, A, nats), header)
	}
	lim := `"limits":{"imports":-1,"exports":-1,"wildcards":true}`
	for _, n := range []string{
		`"limits":{}`, lim, `"limits":null`, `"imports":[{"subject":"a","account":"A","type":"stream"}]`,
		lim + `,"imports":[null]`, lim + `,"exports":[null]`,
		lim + `,"imports":[{}]`, lim + `,"exports":[{}]`,
		`"limits":{"imports":1,"exports":1},"imports":[{"subject":"a","account":"x","type":"stream"},{"subject":"b","account":"x","type":"stream"}],"exports":[{"subject":"a.*","type":"stream"},{"subject":"b","type":"service"}]`,
		lim + `,"imports":[{"subject":"a","account":"x","type":"service","to":"b"},{"subject":"c","account":"x","type":"service","local_subject":"b"}]`,
		lim + `,"imports":[{"subject":"a.*","account":"x","type":"service"},{"subject":"a.b","account":"x","type":"service"}]`,
		lim + `,"imports":[{"subject":"a.*","account":"x","type":"service"},{"subject":"a.b","account":"y","type":"service"}]`,
		lim + `,"imports":[{"subject":"a.*.>","account":"x","type":"stream","local_subject":"b.$1"}]`,
		lim + `,"imports":[{"subject":"a.*.*","account":"x","type":"stream","local_subject":"b.$2.$1"},{"subject":"a.*.*","account":"x","type":"stream","local_subject":"b.$3.*"},{"subject":"a.*","account":"x","type":"stream","local_subject":"b"}]`,
		lim + `,"imports":[{"subject":"a","account":"x","type":"stream","share":true,"allow_trace":true},{"subject":"b c","account":"x","type":"service","share":true,"allow_trace":true}]`,
		lim + `,"imports":[{"subject":"a","account":"x","type":"stream","token":"x"}]`,
		lim + `,"exports":[{"subject":"a.>","type":"stream"},{"subject":"a.b","type":"stream"}]`,
		lim + `,"exports":[{"subject":"a.b","type":"service"},{"subject":"a.b","type":"service"}]`,
		lim + `,"exports":[{"subject":"a","type":"stream","response_type":"Singleton","allow_trace":true,"response_threshold":5,"service_latency":{"sampling":200,"results":"a.>"}}]`,
		lim + `,"exports":[{"subject":"a","type":"service","response_type":"x","response_threshold":-5,"service_latency":{"sampling":"HEADERS","results":""}}]`,
		lim + `,"exports":[{"subject":"a","type":"service","account_token_position":1},{"subject":"b.*","type":"service","account_token_position":3},{"subject":"c.*","type":"service","account_token_position":1},{"subject":"d.*","type":"service","account_token_position":2}]`,
		lim + `,"exports":[{"subject":".a","type":"service"},{"subject":"b..c","type":"service","info_url":"x"},{"subject":"","type":"service","info_url":"http://x"}]`,
		`"limits":{"imports":-1,"exports":-1,"wildcards":true,"mem_storage":1,"tiered_limits":{"R1":{"mem_storage":1},"":{"mem_storage":2}}}`,
		lim + `,"default_permissions":{"pub":{"allow":["a b","a b c","","a."]},"sub":{"deny":["a b","a b c"]},"resp":{"max":1,"ttl":2}}`,
		lim + `,"mappings":{"a":[{"subject":"b","weight":60},{"subject":"c","weight":60}]}`, lim + `,"mappings":{"a b":[{"subject":"b","weight":101,"cluster":"x"}]}`, lim + `,"mappings":{"a":null,"b":[null]}`,
		lim + `,"authorization":{"allowed_accounts":["*"]}`, lim + `,"authorization":{"auth_users":["x","` + U + `"],"allowed_accounts":["*","` + A + `","q"],"xkey":"x"}`, lim + `,"authorization":{"auth_users":["` + U + `"],"xkey":"` + X + `"}`,
		lim + `,"trace":{"dest":""}`, lim + `,"trace":{"dest":"a.*","sampling":101}`, lim + `,"trace":{"dest":"a b..c","sampling":-1}`, lim + `,"trace":{"dest":"a"}`,
		lim + `,"signing_keys":["x","` + K + `",5,null,["x"]]`, lim + `,"signing_keys":[{"kind":"user_scope","key":"x"}]`, lim + `,"signing_keys":[{"kind":"other"}]`, lim + `,"signing_keys":[{"kind":"user_scope","key":"` + K + `","template":{"subs":5}}]`,
		lim + `,"cluster_traffic":"x"`, lim + `,"cluster_traffic":"owner","description":"d","info_url":"x"`, lim + `,"revocations":{"a":1}`, lim + `,"exports":[{"subject":"a","type":"x"}]`,
	} {
		account(n)
	}
	add("A", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"account","version":2,%s}}`, A, A, lim), header)
	add("U", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"account","version":2,%s}}`, U, A, lim), header)
	for _, n := range []string{
		`"pub":{"allow":["a b"]}`, `"sub":{"allow":["a b","a b c",""]}`, `"pub":null`, `"src":"10.0.0.0/8, 1.2.3.4/32,,10.0.0.0/8"`, `"src":["x","1.2.3.4","1.2.3.4/33","::1/128","01.2.3.4/8","1.2.3.4/08","::ffff:1.2.3.4/100","1.2.3.4/-1","fe80::1%eth0/64"]`,
		`"src":[null]`, `"times":[{},{"start":"8:00:00","end":"24:00:00"},{"start":"08:0:00","end":"08:00:60"},{"start":"08:00:00.5","end":"23:59:59"},{"start":"x","end":" 08:00:00"}]`, `"times":null`, `"times":[null]`,
		`"times_location":"Europe/Berlin"`, `"times_location":"Nowhere"`, `"times_location":"UTC"`, `"times_location":"Local"`, `"times_location":"europe/berlin"`, `"issuer_account":"x"`, `"issuer_account":"` + A + `"`, `"issuer_account":"` + U + `"`,
		`"allowed_connection_types":["x"]`, `"unknown":{"a":[1,{"b":null}]}`, `"subs":1,"subs":2`, `"resp":{"max":1}`, `"resp":null`, `"Pub":{"ALLOW":["x"]}`,
	} {
		add("A", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"user","version":2,%s}}`, A, U, n), header)
	}
	for _, top := range []string{`"exp":1`, `"exp":4000000000`, `"nbf":4000000000`, `"nbf":1`, `"exp":-1`, `"exp":null,"aud":null`, `"EXP":1`} {
		add("A", fmt.Sprintf(`{"iss":"%s","sub":"%s",%s,"nats":{"type":"user","version":2}}`, A, U, top), header)
		add("N", fmt.Sprintf(`{"iss":"%s","sub":"x",%s,"nats":{"type":"authorization_request","version":2}}`, N, top), header)
	}
	for _, s := range []string{"O", "A", "U", "N", "B"} {
		for _, kind := range []string{"operator", "account", "user", "activation", "authorization_request", "authorization_response"} {
			add(s, fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"%s","version":2}}`, pub(signers[s]), A, kind), header)
		}
	}
	add("X", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"user","version":2}}`, X, A), header)
	add("B", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"user","version":2}}`, A, A), header)
	add("B", `{"iss":"","sub":"","nats":{"type":"user","version":2}}`, header)
	for _, n := range []string{`"kind":"stream"`, `"kind":"service","subject":"a b","issuer_account":"x"`, `"subject":"a"`, `"kind":"x"`} {
		add("A", fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"activation","version":2,%s}}`, A, B, n), header)
	}
	for _, n := range []string{`"jwt":"x"`, `"error":"x"`, `"jwt":"x","error":"y","issuer_account":"z"`} {
		for _, top := range []string{fmt.Sprintf(`"sub":"%s","aud":"%s"`, U, N), `"sub":"x","aud":"y"`} {
			add("A", fmt.Sprintf(`{"iss":"%s",%s,"nats":{"type":"authorization_response","version":2,%s}}`, A, top, n), header)
		}
	}
	for _, n := range []string{`"user_nkey":"x"`, `"user_nkey":"` + U + `"`} {
		add("N", fmt.Sprintf(`{"iss":"%s","sub":"x","nats":{"type":"authorization_request","version":2,%s}}`, N, n), header)
	}
	good := fmt.Sprintf(`{"iss":"%s","sub":"%s","nats":{"type":"user","version":2}}`, A, U)
	for _, h := range []string{`{"typ":"jwt","alg":"ED25519-NKEY"}`, `{"typ":"JWT","alg":"ed25519"}`, `{"TYP":"JWT","ALG":"ed25519"}`, `{"typ":"JWT","alg":"none"}`, `{"typ":"JWT","alg":"HS256"}`, `{"typ":"JWT"}`, `{"alg":"ed25519-nkey"}`, `{}`, `null`, `[]`, `{"typ":5}`, `{"typ":"JWT","alg":"ed25519-nkey","kid":{"x":[]}}`, ``, `{`} {
		add("A", good, h)
	}
	for _, p := range []string{``, `{`, `null`, `[]`, `5`, `"x"`, `{"a"`, `{"a":`, `{"a":1`, `{x`, `{"a":1,}`, `{"a" 1}`, `[1 2]`, `{} x`, `x`} {
		add("A", p, header)
	}
	var plain []object
	for _, t := range []string{"", "a", "a.b", "a.b.c", "a.b.c.d", "!.b.c", "ab=.b.c", "abc.d\n!.e", b64([]byte(header)) + ".e30.A", b64([]byte(header)) + ".e30.A!", b64([]byte(header)) + ".e30.AAAA", b64([]byte(header)) + ".{}.A", "é.b.c"} {
		_, err := jwt.Decode(t)
		plain = append(plain, object{"token": t, "error": text(err)})
	}
	return object{"signed": found, "plain": plain}
}

func set(a *server.Account, field string, value any) {
	f := reflect.ValueOf(a).Elem().FieldByName(field)
	reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(reflect.ValueOf(value).Convert(f.Type()))
}

func templates() any {
	many := jwt.TagList{}
	for i := 0; i < 70; i++ {
		many = append(many, fmt.Sprintf("many:%d", i))
	}
	tags := append(jwt.TagList{"team:blue", "team:red", "one:1", "wild:*", "dots:a.b", "upper:X", "empty:", "space:a b", "Case:x"}, many...)
	var found []object
	for _, list := range [][]string{
		nil, {}, {"a"}, {"a.{{name()}}"}, {"{{ NAME() }}.x"}, {"{{subject()}}.{{account-name()}}.{{account-subject()}}"}, {"{{tag(team)}}"}, {"{{tag(team)}}.{{tag(team)}}"}, {"{{tag(team)}}.{{tag(one)}}"},
		{"x.{{account-tag(region)}}.{{tag(team)}}"}, {"{{tag(none)}}"}, {"{{tag(none)}}", "ok"}, {"{{account-tag(none)}}", "{{name()}}"}, {"{{other()}}"}, {"{{}}"}, {"{{name}}"}, {"{{ name() }"}, {"{{{name()}}}"}, {"{{tag()}}"}, {"{{TAG(team)}}"}, {"{{tag(TEAM)}}"}, {"{{Tag(One)}}"},
		{"{{tag(wild)}}"}, {"{{tag(dots)}}"}, {"{{tag(upper)}}"}, {"{{tag(empty)}}"}, {"{{tag(space)}}"}, {"{{tag(case)}}"}, {"{{tag(many)}}"}, {"{{tag(many)}}.{{tag(many)}}"}, {"{{name()}}.{{name()}}"}, {"{{name()}} queue"}, {"a b", "{{name()}}"}, {"a..b", "{{name()}}"}, {"{{tag(team) }}"}, {"{{tag( team)}}"},
		{"{{account-tag(region)}}.>"}, {"a.{{name()}}.>", "b.{{tag(team)}}.*", "plain"},
	} {
		for _, name := range []string{"dev1", "", "a b", "*", "{{subject()}}"} {
			if name != "dev1" && (len(list) == 0 || list[0] != "a.{{name()}}" && list[0] != "{{name()}}.{{name()}}" && list[0] != "{{subject()}}.{{account-name()}}.{{account-subject()}}") {
				continue
			}
			for _, where := range []string{"allow", "deny"} {
				u := jwt.NewUserClaims(pub(user))
				u.Name, u.Tags, u.IssuerAccount = name, tags, pub(acc)
				a := server.NewAccount(pub(acc))
				set(a, "nameTag", "The-Account")
				set(a, "tags", jwt.TagList{"region:eu", "region:us"})
				var lim jwt.UserPermissionLimits
				if where == "allow" {
					lim.Pub.Allow = append(jwt.StringList(nil), list...)
				} else {
					lim.Pub.Deny = append(jwt.StringList(nil), list...)
				}
				got, err := expand(lim, u, a)
				found = append(found, object{"name": name, "where": where, "list": list, "allow": got.Pub.Allow, "deny": got.Pub.Deny, "error": text(err)})
			}
		}
	}
	return object{"tags": tags, "cases": found}
}

func restrictions() any {
	var times, sources []object
	for _, zone := range []string{"", "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"} {
		for _, span := range [][]string{{"08:00:00", "17:00:00"}, {"22:00:00", "06:00:00"}, {"00:00:00", "23:59:59"}, {"12:00:00", "12:00:00"}, {"02:30:00", "03:30:00"}, {"01:15:00", "02:45:00"}, {"08:00:00", "09:00:00", "08:30:00", "12:00:00"}} {
			at := map[string]int64{}
			for _, now := range []int64{1700000000, 1711846799, 1711848600, 1711850400, 1711852200, 1729990800, 1729992600, 1729998000, 1710054000, 1710055800, 1710057600, 1730608200, 1730611800, 1728143100, 1712415600, 1704067200, 1704067199} {
				u := jwt.NewUserClaims(pub(user))
				u.Locale = zone
				for i := 0; i < len(span); i += 2 {
					u.Times = append(u.Times, jwt.TimeRange{Start: span[i], End: span[i+1]})
				}
				ok, left := validateTimesAt(u, time.Unix(now, 0).UTC())
				at[fmt.Sprint(now)] = int64(left / time.Second)
				if !ok {
					at[fmt.Sprint(now)] = -1
				}
			}
			times = append(times, object{"zone": zone, "times": span, "for_s": at})
		}
	}
	for _, src := range [][]string{nil, {"10.0.0.0/8"}, {"::/0"}, {"0.0.0.0/0"}, {"::ffff:10.0.0.0/104"}, {"::ffff:0.0.0.0/90"}, {"2001:db8::/32"}, {"x"}, {"x", "10.0.0.0/8"}, {"10.0.0.0/8", "x"}, {"10.1.2.3/8"}, {"10.1.2.3/08"}} {
		for _, host := range []string{"", "10.1.2.3", "11.1.2.3", "::1", "::ffff:10.1.2.3", "2001:db8::5", "fe80::1%eth0", "x", "010.1.2.3", "10.1.2.3:55"} {
			u := jwt.NewUserClaims(pub(user))
			u.Src = src
			sources = append(sources, object{"src": src, "host": host, "ok": validateSrc(u, host)})
		}
	}
	return object{"times": times, "sources": sources}
}

func creds() any {
	t, s := "eyJx.y-_.z", string(must(user.Seed()))
	so := string(must(op.Seed()))
	var found []object
	for _, c := range []string{
		"", t, s, t + "\n", " " + s + "\n", s + "\r\n", "# x\n" + s, "# x\n  " + s, so + "\n", string(must(srv.Seed())),
		"---a---\n" + t + "\n---b---\n\n---c---\n" + s + "\n---d---\n", "---a---\r\n" + t + "\r\n---b---\r\n---c---\r\n" + s + "\r\n---d---\r\n",
		"---a---\n" + t + "\n---b---\n---c---\n" + s + "\n---d---", "--a--\n" + t + "\n--b--\n" + s, "---a---\n" + t + "\n---b---\n" + s, "---a---\n" + s + "\n---b---\n",
		"---a---\n" + t + "\n---b---\n---c---\n" + t + "\n---d---\n", "----\n" + t + "\n----\n", "------\n" + t + "\n------\n", "---a---\n\n" + t + "\n---b---\n", "---a---\n" + t + " \n---b---\n", "---a--- \n" + t + "\n---b---\n",
		"---a---\n" + s + "\n---b---\n---c---\n" + t + "\n---d---\n", "---é---\n" + t + "\n---b---\n",
	} {
		token, err := nkeys.ParseDecoratedJWT([]byte(c))
		kp, seedErr := nkeys.ParseDecoratedNKey([]byte(c))
		entry := object{"content": c, "token": token, "token_error": text(err), "seed_error": text(seedErr)}
		if kp != nil {
			entry["public"] = pub(kp)
		}
		_, userErr := nkeys.ParseDecoratedUserNKey([]byte(c))
		entry["user_error"] = text(userErr)
		found = append(found, entry)
	}
	return found
}

func main() {
	for name, make := range map[string]func() any{"keys": keys, "tokens": tokens, "decoded": decoded, "templates": templates, "restrictions": restrictions, "creds": creds} {
		var buffer bytes.Buffer
		encoder := json.NewEncoder(&buffer)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "")
		if err := encoder.Encode(make()); err != nil {
			panic(err)
		}
		written := buffer.String()
		if name == "decoded" { // keys by their letters: a third of the size
			for letter, kp := range signers {
				written = strings.ReplaceAll(written, pub(kp), "@"+letter+"@")
			}
		}
		if err := os.WriteFile(filepath.Join(os.Args[1], name+".json"), []byte(written), 0o644); err != nil {
			panic(err)
		}
	}
}
