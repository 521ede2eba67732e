// Types of omnivox.js.

/** How messages travel, in the order in which they are tried. */
export type Transport = 'websocket' | 'stream' | 'poll';

export interface Options {
  /** A token, or what fetches one; asked again for every connection. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  transports?: Transport[];
  /** For places that have no WebSocket of their own, such as Node 20. */
  WebSocket?: unknown;
}

/** A message of a channel: `message` with event and data, or an application's own type with its own members. */
export interface Message {
  type: string;
  channel: string;
  id: string;
  event?: string;
  data?: any;
  [member: string]: any;
}

export interface Member {
  session: string;
  key: string;
  user: string | null;
  data: any;
}

export interface Events {
  state: (state: Client['state']) => void;
  message: (message: Message) => void;
  /** Something is missing in the channel: load again what you show of it. */
  gap: (gap: { channel?: string }) => void;
  presence: (event: { channel: string; action: 'enter' | 'update' | 'leave'; member: Member }) => void;
  signal: (signal: { channel: string; from: string; data: any }) => void;
  subscribed: (answer: { channel: string; id?: string; gap?: boolean; recovered?: number }) => void;
  refused: (refusal: { channel: string; error: Refused }) => void;
  /** A message without an answer that a request could not bring. */
  unsaid: (failure: { message: object; error: Error }) => void;
}

/** Something that the server refused. */
export class Refused extends Error {
  readonly code: string;
}

export class Client {
  readonly state: 'connecting' | 'open' | 'closed';
  readonly transport: Transport;
  on<Name extends keyof Events>(name: Name, listener: Events[Name]): () => void;
  subscribe(channel: string, listener?: (message: Message) => void, options?: { presence?: boolean; since?: string }): () => void;
  unsubscribe(channel: string): void;
  publish(channel: string, data: any, more?: { event?: string; id?: string; exclude_sender?: boolean }): Promise<{ channel: string; id: string; duplicate: boolean }>;
  /** One message of the protocol and its answer. */
  request(message: { type: string; [member: string]: any }): Promise<any>;
  /** One message that has no answer; false when it could not be said now. */
  tell(message: { type: string; [member: string]: any }): boolean;
  /** A request of the HTTP API. */
  http(method: string, path: string, body?: object): Promise<any>;
  close(): void;
}

export function connect(url: string, options?: Options): Client;
