package config

import "time"

// RateLimits are how often an address may ask. The stand-in can be told only about second factors.
type RateLimits struct {
	SecondFactorTOTP RateLimit `yaml:"second_factor_totp"`
}

// RateLimit is a list of buckets, each of which must let a request pass.
type RateLimit struct {
	Enable  *bool    `yaml:"enable"`
	Buckets []Bucket `yaml:"buckets"`
}

// Bucket lets so many requests pass at once, and one more after each period.
type Bucket struct {
	Period   Duration `yaml:"period"`
	Requests int      `yaml:"requests"`
}

// shortestPeriod is the shortest period of a bucket.
const shortestPeriod = Duration(10 * time.Second)

func (l *RateLimits) validate(p *problems) {
	l.SecondFactorTOTP.validate(p, "second_factor_totp", []Bucket{
		{Duration(time.Minute), 30}, {Duration(2 * time.Minute), 40}, {Duration(10 * time.Minute), 50},
	})
}

// validate checks the buckets, or puts Authelia's own in their place. Without a word a limit is on.
func (l *RateLimit) validate(p *problems, name string, defaults []Bucket) {
	if l.Enable == nil {
		on := true
		l.Enable = &on
	}
	if len(l.Buckets) == 0 {
		l.Buckets = defaults
	}
	for i, b := range l.Buckets {
		key := "server: endpoints: rate_limits: " + name
		p.require(b.Period >= shortestPeriod, "%s: bucket %d: option 'period' must be 10 seconds or more", key, i+1)
		p.require(b.Requests > 0, "%s: bucket %d: option 'requests' must be above 0 but it's configured as '%d'", key, i+1, b.Requests)
	}
}
