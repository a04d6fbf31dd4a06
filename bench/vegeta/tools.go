//go:build tools

// Names the constant-rate generator of the cross-check, so that go.mod pins it: see bench/check.py.
package tools

import _ "github.com/tsenart/vegeta/v12"
