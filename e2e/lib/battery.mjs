// HTTP requests that must be refused, each with the connection closed: the classes of request smuggling and sloppy heads.
//
// `SMUGGLED` stands for a second request hidden in the first: it publishes to the channel `smuggled`, which stays empty.

export const SMUGGLED_CHANNEL = 'smuggled';

const hidden = (host) => {
  const body = JSON.stringify({ channel: SMUGGLED_CHANNEL, event: 'x', data: 1 });
  return `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
};

/// Each case: what it is, and the bytes as a function of the host.
export const MALFORMED = [
  ['both length headers', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['unequal lengths', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n${hidden(host)}`],
  ['unequal lengths in one header', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0, 44\r\n\r\n${hidden(host)}`],
  ['a signed length', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: +0\r\n\r\n${hidden(host)}`],
  ['a negative length', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: -1\r\n\r\n${hidden(host)}`],
  ['a length in hexadecimal', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 0x0\r\n\r\n${hidden(host)}`],
  ['a length beyond all numbers', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 99999999999999999999999999\r\n\r\n`],
  ['an empty length', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length: \r\n\r\n${hidden(host)}`],
  ['an unknown transfer encoding', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: gzip\r\n\r\n${hidden(host)}`],
  ['chunked that is not last', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['chunked twice', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['a transfer encoding that only looks chunked', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['chunked behind a vertical tab', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['chunked in HTTP/1.0', (host) => `POST /publish HTTP/1.0\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${hidden(host)}`],
  ['a space before the colon', (host) => `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Length : 44\r\n\r\n${hidden(host)}`],
  ['a folded header line', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX-Long: one\r\n two\r\n\r\n`],
  ['a space before the first header', (host) => `GET /health HTTP/1.1\r\n Host: ${host}\r\n\r\n`],
  ['a header without a colon', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nNonsense\r\n\r\n`],
  ['an empty header name', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\n: x\r\n\r\n`],
  ['a bare CR in a value', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX-A: one\rtwo\r\n\r\n`],
  ['a bare LF as a line end', (host) => `GET /health HTTP/1.1\nHost: ${host}\n\n`],
  ['a NUL in a value', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX-A: one\0two\r\n\r\n`],
  ['a NUL in the target', (host) => `GET /hea\0lth HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['no host', () => 'GET /health HTTP/1.1\r\n\r\n'],
  ['two hosts', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nHost: elsewhere.test\r\n\r\n`],
  ['a host with a path', () => 'GET /health HTTP/1.1\r\nHost: localhost/x\r\n\r\n'],
  ['a target with a space', (host) => `GET /health x HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['an unknown version', (host) => `GET /health HTTP/1.7\r\nHost: ${host}\r\n\r\n`],
  ['no version', (host) => `GET /health\r\nHost: ${host}\r\n\r\n`],
  ['the preface of HTTP/2', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a method with a bracket', (host) => `G(ET /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a TLS handshake', () => '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n'],
  ['a chunk size that is no number', (host) => chunked(host, 'zz\r\n{}\r\n0\r\n\r\n')],
  ['a chunk size that overflows', (host) => chunked(host, 'fffffffffffffffff\r\n{}\r\n0\r\n\r\n')],
  ['a chunk size with a sign', (host) => chunked(host, '+2\r\n{}\r\n0\r\n\r\n')],
  ['a chunk size in C', (host) => chunked(host, '0x2\r\n{}\r\n0\r\n\r\n')],
  ['a chunk longer than it says', (host) => chunked(host, '2\r\n{}{}\r\n0\r\n\r\n')],
  ['a chunk that ends in a bare LF', (host) => chunked(host, '2\r\n{}\n0\r\n\r\n')],
  ['a chunk size that ends in a bare LF', (host) => chunked(host, '2\n{}\r\n0\r\n\r\n')],
];

/// Requests that servers differ about. Each is either served or refused here; nothing is hidden in them.
export const SLOPPY = [
  ['a method in lower case', (host) => `get /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['two spaces before the target', (host) => `GET  /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a tab before the version', (host) => `GET /health\tHTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['an empty line before the request', (host) => `\r\nGET /health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a target with its host', (host) => `GET http://${host}/health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a target of another host', (host) => `GET http://elsewhere.test/health HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a fragment in the target', (host) => `GET /health#x HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a target with bytes beyond ASCII', (host) => `GET /health?\xff HTTP/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a version in lower case', (host) => `GET /health http/1.1\r\nHost: ${host}\r\n\r\n`],
  ['a version with a leading zero', (host) => `GET /health HTTP/01.1\r\nHost: ${host}\r\n\r\n`],
  ['a host with a user', (host) => `GET /health HTTP/1.1\r\nHost: user@${host}\r\n\r\n`],
  ['a host with a space', (host) => `GET /health HTTP/1.1\r\nHost: ${host} x\r\n\r\n`],
  ['an empty host', () => 'GET /health HTTP/1.1\r\nHost: \r\n\r\n'],
  ['a header name with an underscore', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX_A: 1\r\n\r\n`],
  ['a header name with a slash', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX/A: 1\r\n\r\n`],
  ['a header name beyond ASCII', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX\xe9: 1\r\n\r\n`],
  ['a delete character in a value', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\nX-A: a\x7fb\r\n\r\n`],
  ['two bare CRs for a line', (host) => `GET /health HTTP/1.1\r\nHost: ${host}\r\n\r\r\n`],
  ['equal lengths in two headers', (host) => publish(host, 'Content-Length: 24\r\nContent-Length: 24', '{"channel":"s","data":1}')],
  ['equal lengths in one header', (host) => publish(host, 'Content-Length: 24, 24', '{"channel":"s","data":1}')],
  ['a length with a leading zero', (host) => publish(host, 'Content-Length: 0024', '{"channel":"s","data":1}')],
  ['a length with a space in it', (host) => publish(host, 'Content-Length: 2 4', '{"channel":"s","data":1}')],
  ['a length in a fraction', (host) => publish(host, 'Content-Length: 24.0', '{"channel":"s","data":1}')],
  ['chunked in capitals', (host) => publish(host, 'Transfer-Encoding: CHUNKED', '18\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['chunked in quotes', (host) => publish(host, 'Transfer-Encoding: "chunked"', '18\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['chunked with a parameter', (host) => publish(host, 'Transfer-Encoding: chunked;x=1', '18\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['chunked behind an empty element', (host) => publish(host, 'Transfer-Encoding: , chunked', '18\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['an empty transfer encoding', (host) => publish(host, 'Transfer-Encoding:', '')],
  ['a chunk with an extension', (host) => publish(host, 'Transfer-Encoding: chunked', '18;a=b\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['a chunk size with zeroes before it', (host) => publish(host, 'Transfer-Encoding: chunked', '0018\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['a chunk size with a space behind it', (host) => publish(host, 'Transfer-Encoding: chunked', '18 \r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['a chunk size with an underscore', (host) => publish(host, 'Transfer-Encoding: chunked', '1_8\r\n{"channel":"s","data":1}\r\n0\r\n\r\n')],
  ['an empty chunk size', (host) => publish(host, 'Transfer-Encoding: chunked', '\r\n\r\n')],
  ['a trailer', (host) => publish(host, 'Transfer-Encoding: chunked', '18\r\n{"channel":"s","data":1}\r\n0\r\nX-A: 1\r\n\r\n')],
  ['a trailer that ends in a bare LF', (host) => publish(host, 'Transfer-Encoding: chunked', '18\r\n{"channel":"s","data":1}\r\n0\r\nX-A: 1\n\r\n')],
];

function publish(host, headers, body) {
  return `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`;
}

function chunked(host, body) {
  return `POST /publish HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${body}`;
}

/// Targets that try to leave the tree or to hide what they name; none may be served as something else.
export const PATH_TRICKS = [
  '/../../etc/passwd', '/..%2f..%2fetc/passwd', '/%2e%2e/health', '/./health', '//health', '/health/', '/health%00', '/health%0d%0aX-A:%201',
  '/v1/../health', '/v1/%2e%2e/health', '/v1/channels/%ff', '/\\health', '/HEALTH', '/health;x=1', '/%', '/%zz', '/health%2f',
];
