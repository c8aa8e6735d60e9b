import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isDomainError } from '@volant/contract'
import { canonicalAccessTo } from './share-access-rule.ts'

test('an address or a network has one writing', () => {
  const same: [string, string][] = [
    ['10.0.0.7', '10.0.0.7'],
    ['10.0.0.7/32', '10.0.0.7'],
    ['10.0.0.0/24', '10.0.0.0/24'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['255.255.255.255', '255.255.255.255'],
    ['0.0.0.0/8', '0.0.0.0/8'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:db8:0:0:0:0:0:1/128', '2001:db8::1'],
    ['2001:0db8::/32', '2001:db8::/32'],
    ['::/0', '::/0'],
    ['fe80:0:0:1:0:0:0:0/64', 'fe80:0:0:1::/64'],
  ]
  for (const [text, canonical] of same) assert.equal(canonicalAccessTo(text), canonical, text)
})

test('what is neither is refused, and told what would be right', () => {
  const wrong: [string, RegExp][] = [
    ['', /does not appear/],
    ['10.0.0', /does not appear/],
    ['10.0.0.256', /does not appear/],
    ['010.0.0.1', /does not appear/],
    ['10.0.0.1/24/1', /does not appear/],
    ['10.0.0.1 ', /does not appear/],
    ['fe80::1%eth0', /does not appear/],
    ['host.example', /does not appear/],
    ['10.0.0.0/', /whole number from 0 to 32/],
    ['10.0.0.0/33', /whole number from 0 to 32/],
    ['10.0.0.0/255.255.255.0', /whole number from 0 to 32/],
    ['::/129', /whole number from 0 to 128/],
    ['10.0.0.1/24', /The network is 10\.0\.0\.0\/24/],
    ['2001:db8::1/64', /The network is 2001:db8::\/64/],
    ['0.0.0.0', /no client's address.*0\.0\.0\.0\/0/],
    ['0.0.0.0/32', /no client's address.*0\.0\.0\.0\/0/],
    ['::', /no client's address.*::\/0/],
    ['::/128', /no client's address/],
    ['2001:db8::/97', /too small a network for the NFS server/],
    ['2001:db8::/127', /too small a network for the NFS server/],
    ['::ffff:10.0.0.7', /IPv4 address in the form of IPv6/],
    ['::ffff:10.0.0.0/120', /IPv4 address in the form of IPv6/],
    ['::ffff:0:0/96', /IPv4 address in the form of IPv6/],
  ]
  for (const [text, reason] of wrong) {
    assert.throws(
      () => canonicalAccessTo(text),
      (error) => isDomainError(error) && error.code === 'invalid' && reason.test(error.message),
      text,
    )
  }
})
