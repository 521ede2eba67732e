// The page at `/`: one channel over WebSocket, server-sent events and long polling, side by side.
'use strict';

const LINES_MAX = 200;
const panels = Object.fromEntries([...document.querySelectorAll('section')].map((node) => [node.dataset.transport, panel(node)]));
let channel = document.querySelector('#channel').value;
let stop = start(channel);

document.querySelector('#channel').addEventListener('change', (event) => {
  stop();
  channel = event.target.value;
  stop = start(channel);
});

document.querySelector('#send').addEventListener('submit', async (event) => {
  event.preventDefault();
  const field = document.querySelector('#text');
  const outcome = document.querySelector('#outcome');
  const data = { text: field.value, sent_ms: Date.now() };
  try {
    const answer = await fetch('/v1/publish', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ channel, event: 'chat', data }),
    });
    const body = await answer.json();
    outcome.className = answer.ok ? '' : 'bad';
    outcome.textContent = answer.ok ? `published as ${body.id}` : body.error.message;
    if (answer.ok) field.value = '';
  } catch (error) {
    outcome.className = 'bad';
    outcome.textContent = `not published: ${error.message}`;
  }
});

/** What one section shows. */
function panel(node) {
  let count = 0;
  return {
    state(words, kind) {
      node.classList.remove('open', 'lost');
      if (kind) node.classList.add(kind);
      node.querySelector('.words').textContent = words;
    },
    clear() {
      count = 0;
      node.querySelector('.count').textContent = '0';
      node.querySelector('ol').replaceChildren();
    },
    show(message) {
      count += 1;
      node.querySelector('.count').textContent = String(count);
      this.note(message);
    },
    /** The transport goes on, but something in between is lost. */
    gap() {
      this.note({ type: 'gap', text: 'messages are missing here' });
    },
    note(message) {
      const line = document.createElement('li');
      const time = document.createElement('time');
      time.textContent = new Date().toLocaleTimeString();
      const name = document.createElement('b');
      name.textContent = message.event ?? message.type;
      const shown = message.data?.text ?? message.text ?? message.data ?? message;
      line.append(time, name, typeof shown === 'string' ? shown : JSON.stringify(shown));
      const sent = message.data?.sent_ms;
      if (sent) node.querySelector('.delay').textContent = `${Math.max(0, Date.now() - sent)} ms`;
      const list = node.querySelector('ol');
      list.prepend(line);
      if (list.childElementCount > LINES_MAX) list.lastElementChild.remove();
    },
  };
}

/** Subscribes over all three transports; the answer ends them. */
function start(name) {
  Object.values(panels).forEach((each) => each.clear());
  const ends = [webSocket(name), eventSource(name), longPoll(name)];
  return () => ends.forEach((end) => end());
}

function webSocket(name) {
  let socket;
  let last;
  let ended = false;
  let timer;
  const connect = () => {
    panels.ws.state('connecting');
    socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/v1/ws`);
    socket.onopen = () => socket.send(JSON.stringify({ type: 'subscribe', channel: name, since: last }));
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data);
      if (message.type === 'subscribed') {
        panels.ws.state('open', 'open');
        last ??= message.id;
      } else if (message.type === 'gap') panels.ws.gap();
      else if (message.type === 'error') panels.ws.state(message.message, 'lost');
      else if (message.channel === name) {
        last = message.id ?? last;
        panels.ws.show(message);
      }
    };
    socket.onclose = () => {
      if (ended) return;
      panels.ws.state('lost, trying again', 'lost');
      timer = setTimeout(connect, 1000 + Math.random() * 1000);
    };
  };
  connect();
  return () => {
    ended = true;
    clearTimeout(timer);
    socket.close();
  };
}

function eventSource(name) {
  const source = new EventSource(`/v1/sse?channel=${encodeURIComponent(name)}`);
  source.onopen = () => panels.sse.state('open', 'open');
  source.onmessage = (event) => panels.sse.show(JSON.parse(event.data));
  source.onerror = (event) => {
    // What the server itself tells comes as an event `error`, too: with data, and the stream goes on.
    const told = event.data === undefined ? undefined : JSON.parse(event.data);
    if (told?.code === 'gap') panels.sse.gap();
    else panels.sse.state(told?.message ?? (source.readyState === EventSource.CLOSED ? 'refused' : 'lost, trying again'), 'lost');
  };
  return () => source.close();
}

function longPoll(name) {
  const abort = new AbortController();
  let last = '';
  let open = false;
  (async () => {
    while (!abort.signal.aborted) {
      try {
        // The first is answered at once: it says where the channel is, and that polls get through.
        const query = new URLSearchParams({ channel: name, ...(last && { last }), ...(!open && { timeout: 0 }) });
        const answer = await fetch(`/v1/poll?${query}`, { signal: abort.signal });
        if (!answer.ok) throw new Error(String(answer.status));
        const body = await answer.json();
        panels.poll.state('open', 'open');
        open = true;
        last = body.last;
        if (body.gap) panels.poll.gap();
        body.events.forEach((message) => panels.poll.show(message));
      } catch {
        if (abort.signal.aborted) return;
        open = false;
        panels.poll.state('lost, trying again', 'lost');
        await new Promise((resolve) => setTimeout(resolve, 1000 + Math.random() * 1000));
      }
    }
  })();
  return () => abort.abort();
}
