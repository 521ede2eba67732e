// A back end that hooks ask: a real HTTP server which verifies signatures and answers as the test says.

import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';
import { Inbox } from './inbox.mjs';

/// Whether the headers sign the body with the secret (Standard Webhooks).
function verified(headers, body, secret) {
  const text = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
  const expected = createHmac('sha256', secret).update(text).digest();
  const fresh = Math.abs(Date.now() / 1000 - Number(headers['webhook-timestamp'])) < 300;
  const signatures = headers['webhook-signature'].split(' ').map((one) => Buffer.from(one.replace(/^v1,/, ''), 'base64'));
  return fresh && signatures.some((tag) => tag.length === expected.length && timingSafeEqual(tag, expected));
}

/// `answer(question)` gives an object for the body; `{ status, raw }` for something else; or one of the two words below.
export const HANG = 'hang';
export const CLOSE = 'close';

export class Backend {
  constructor(secret, answer, port) {
    Object.assign(this, { secret, answer, port, asked: new Inbox(), headers: new Map(), count: 0, held: [] });
    this.server = http.createServer((request, response) => {
      let body = '';
      request.setEncoding('utf8');
      request.on('data', (piece) => { body += piece; });
      request.on('end', () => this.#respond(request, body, response));
    });
  }

  #respond(request, body, response) {
    assert.ok(verified(request.headers, body, this.secret), `the signature of ${body}`);
    const question = JSON.parse(body);
    assert.equal(question.id, request.headers['webhook-id']);
    this.count += 1;
    this.headers.set(question.id, [...(this.headers.get(question.id) ?? []), request.headers]);
    this.asked.push(question);
    const answer = this.answer(question);
    if (answer === HANG) return void this.held.push(response);
    if (answer === CLOSE) return void request.socket.destroy();
    const { status = 200, raw } = answer?.raw === undefined && answer?.status === undefined ? { raw: JSON.stringify(answer ?? {}) } : { raw: '', ...answer };
    response.writeHead(status, { 'content-type': 'application/json' }).end(raw);
  }

  /// Answers everything that hangs.
  release(answer = {}) {
    for (const response of this.held.splice(0)) response.writeHead(200).end(JSON.stringify(answer));
  }

  /// The next question that it was asked about such an event.
  next(event) {
    return this.asked.next((question) => question.event === event, `a question about ${event}`);
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => { this.server.close(resolve); });
  }

  get url() {
    return `http://127.0.0.1:${this.port}/hooks`;
  }
}

/// A back end on a free port, or on that one.
export async function backend(t, secret, answer = () => ({}), port = 0) {
  const started = new Backend(secret, answer, port);
  await new Promise((resolve, reject) => { started.server.on('error', reject).listen(port, '127.0.0.1', resolve); });
  started.port = started.server.address().port;
  t.after(() => started.stop());
  return started;
}

/// A `[[hook]]` of that back end.
export function hook(asked, events, more = '') {
  return `\n[[hook]]\nname = "test"\nevents = ${JSON.stringify(events)}\nurl = "${asked.url}"\nsecrets = ["${asked.secret}"]\n${more}\n`;
}
