// A client of HTTP/2 over TLS: requests, event streams, and WebSockets by extended CONNECT (RFC 8441), all on one connection.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { Receiver, Sender } from 'ws';
import { Inbox, within } from './inbox.mjs';

const { NGHTTP2_CANCEL } = http2.constants;

/// A connection to the TLS port of a server with that certificate.
export async function connectHttp2(t, port, { certificate }) {
  const session = http2.connect(`https://127.0.0.1:${port}`, { ca: readFileSync(certificate) });
  t.after(() => session.destroy());
  const [settings] = await within(once(session, 'remoteSettings'), 'the settings of HTTP/2');
  assert.ok(settings.enableConnectProtocol, 'WebSockets are offered over HTTP/2');
  return new Http2(t, session);
}

class Http2 {
  constructor(t, session) {
    Object.assign(this, { t, session });
    this.closed = once(session, 'close');
  }

  /// The status, content type and text of an answer; that of an event stream is not waited for.
  async request(method, target, headers = {}, body) {
    const stream = this.session.request({ ...headers, ':method': method, ':path': target });
    if (method !== 'GET') stream.end(String(body ?? ''));
    const [{ ':status': status, 'content-type': type = '' }] = await within(once(stream, 'response'), `an answer to ${method} ${target}`);
    if (status === 200 && type.startsWith('text/event-stream')) {
      stream.close(NGHTTP2_CANCEL);
      return { status, type, text: '' };
    }
    stream.setEncoding('utf8');
    let text = '';
    for await (const piece of stream) text += piece;
    return { status, type, text };
  }

  /// An event stream that goes on: the data of its messages in an inbox, parsed.
  async stream(target) {
    const stream = this.session.request({ ':path': target, accept: 'text/event-stream' }).setEncoding('utf8');
    const [{ ':status': status }] = await within(once(stream, 'response'), `an event stream from ${target}`);
    assert.equal(status, 200);
    const inbox = new Inbox();
    let text = '';
    stream.on('data', (piece) => {
      const blocks = (text + piece).split('\n\n');
      text = blocks.pop();
      for (const data of blocks.flatMap((block) => /^data: ?(.*)$/m.exec(block)?.[1] ?? [])) inbox.push(JSON.parse(data));
    });
    stream.on('close', () => inbox.close('the stream ended')).on('error', () => {});
    return { inbox };
  }

  /// A WebSocket on this connection, with what `Socket` of `clients.mjs` needs of one.
  webSocket(target, headers = {}) {
    return new WebSocketOverHttp2(this.session, target, headers);
  }
}

class WebSocketOverHttp2 extends EventEmitter {
  #stream;
  #sender;
  #end = [1006, ''];

  constructor(session, target, headers) {
    super();
    this.#stream = session.request(
      { ...headers, ':method': 'CONNECT', ':protocol': 'websocket', ':path': target, 'sec-websocket-version': '13' },
      { endStream: false },
    );
    const receiver = new Receiver({ isServer: false });
    this.#sender = new Sender(this.#stream, {});
    this.#stream.on('response', ({ ':status': status }) => {
      if (status === 200) this.emit('open');
      else this.emit('error', new Error(`the answer to CONNECT is ${status}`));
    });
    this.#stream.on('error', (error) => this.emit('error', error));
    this.#stream.on('close', () => this.emit('close', ...this.#end));
    this.#stream.pipe(receiver);
    receiver.on('message', (data, isBinary) => this.emit('message', data, isBinary));
    receiver.on('ping', (data) => this.#sender.pong(data, true));
    receiver.on('error', (error) => this.emit('error', error));
    receiver.on('conclude', (code, reason) => {
      this.#end = [code, reason.toString()];
      this.#stream.end();
    });
  }

  send(data) {
    this.#sender.send(data, { fin: true, mask: true, binary: Buffer.isBuffer(data), compress: false });
  }

  close() {
    this.#sender.close(1000, '', true);
  }

  terminate() {
    this.#stream.close(NGHTTP2_CANCEL);
  }
}
