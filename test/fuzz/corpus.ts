// Bytes that readers of header fields have stumbled over elsewhere, and some that only look like it. It tests nothing itself.

const base64 = (text: string): string => Buffer.from(text).toString('base64')
const base64url = (text: string): string => Buffer.from(text).toString('base64url')

/** JSON that a stranger may put where an object is expected. */
const json: readonly string[] = [
  ...['', '{', '{}', '[]', 'null', 'true', '0', '"x"', '{"a":}', "{'a':1}", '\uFEFF{}', '{} {}'],
  '{"__proto__":{"admin":true},"constructor":{"prototype":{}},"toString":1}',
  '{"x402Version":2,"x402Version":1}',
  '{"x402Version":"2","accepted":{},"payload":{}}',
  '{"x402Version":1e400,"scheme":"exact","network":"__proto__","payload":{}}',
  '{"x402Version":1,"scheme":"exact","network":"base-sepolia","payload":{"signature":"0x"}}',
  '{"challenge":{"id":"a","realm":"b","method":"evm","intent":"charge","request":"e30"},"payload":{}}',
  '{"challenge":[],"payload":[]}',
  '{"challenge":null,"payload":null,"source":null}',
  '["id",1,"blockchain",true,{}]',
  `{"a":${'9'.repeat(400)}}`,
  `{"a":"${String.raw`\ud800`}"}`,
  `{"a":"${String.raw`\u0000`}"}`,
  `${'['.repeat(4_000)}${']'.repeat(4_000)}`,
  `${'{"a":'.repeat(2_000)}1${'}'.repeat(2_000)}`,
]

/** Text that stands as it is. */
const plain: readonly string[] = [
  ...['', ' ', '\t', ',', ', ,', ';', '=', '"', '""', '\\', '%', '%00', '%2C', ':', '::', '*', '.'],
  ...['\0', 'a\0b', '\r\n', 'a\r\nSet-Cookie: b', '\u007F', '\u0085', '\u00A0', '\u2028', '\u202E'],
  ...['é', 'ÿ'.repeat(64), '\uD800', '\uDFFF\uD800', '💸', 'Ｂearer x', 'Bearer\u00A0x'],
  ...[
    'undefined',
    'null',
    'NaN',
    'Infinity',
    '-0',
    '1e309',
    '0x',
    '0x0',
    '__proto__',
    'constructor',
  ],
  ...[
    'toString',
    'hasOwnProperty',
    '../../etc/passwd',
    '${7*7}',
    '{{7*7}}',
    "' OR 1=1 --",
    '<script>',
  ],
  ...[
    'Bearer',
    'Bearer ',
    'Bearer ,',
    'bearer\tx',
    'Bearer  x',
    'Bearer x y',
    'Bearer x, Bearer y',
  ],
  ...['DPoP', 'DPoP x', 'Basic dTpw', 'Digest username="a, L402 b:c", x=", Payment e30"'],
  ...[
    'L402',
    'L402 :',
    'L402 a:b',
    'LSAT a:',
    'L402 a,b,c:',
    `L402 AgEA:${'0'.repeat(64)}`,
    'L402 :::',
  ],
  ...['Payment', 'Payment e30', 'Payment ==', 'Payment e30, Payment e30', 'Payment id="a", id="b"'],
  ...[
    'offer_',
    'offer_e30',
    'offer_\u0000',
    'pi_123',
    'spt_',
    '1700000000',
    '2027-02-30T00:00:00Z',
  ],
  ...[
    '99999999999999999999',
    '-1',
    '1_000',
    '١٧٠٠٠٠٠٠٠٠',
    '+1700000000',
    '1700000000.',
    '0000000000',
  ],
]

/** Beginnings of schemes, behind which anything may stand. */
export const schemes: readonly string[] = [
  ...['', 'Bearer ', 'DPoP ', 'L402 ', 'LSAT ', 'Payment ', 'Payment id="', 'Bearer realm="'],
]

/** Every entry is short enough for a head. */
export const corpus: readonly string[] = [
  ...plain,
  ...json.flatMap((text) => [text, base64(text), base64url(text)]),
  base64url(Buffer.from([0xff, 0xfe, 0xc3, 0x28]).toString('latin1')),
  Buffer.from([0xff, 0xfe, 0xc3, 0x28]).toString('base64'),
  Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]).toString('base64'),
  `offer_${base64url('["a",1,"blockchain",true,{"scheme":"exact"}]')}`,
  `eyJhbGciOiJub25lIn0.${base64url('{"sub":"a"}')}.`,
]

/** What is repeated to the end of a head, and far beyond it: it costs time where a reader goes back and forth. */
export const repeated: readonly string[] = [
  ...[' ', '\t', ',', '"', '\\', '\\"', '=', ':', ';', 'a', 'A', '0', '.', '/', '%', 'é'],
  ...[', ', '" ', 'a=', 'a="', 'a=" ', ' =', 'a ', '="\\', 'a,', ',a=b', ' a="b",', '\t,'],
  ...[
    'L402 ',
    'L402 a:',
    'L402 a:, ',
    'a,L402 ',
    'Bearer ',
    'Bearer a, ',
    'Payment ',
    'Payment a, ',
  ],
  ...['Payment a="', 'Payment id="a", ', 'e30', '{"a":', '[', '[[],', '{"a":"', 'offer_', 'pi_'],
]
