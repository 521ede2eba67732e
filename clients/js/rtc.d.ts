// Types of rtc.js.

import type { Client } from './omnivox.js';

export interface RoomOptions {
  /** What you say of yourself to the others. */
  data?: any;
  /** The secret of your seat, 16 to 128 characters: the same one gives the same seat again. Drawn when it is left out. */
  secret?: string;
  /** `relay`: no direct path. */
  iceTransportPolicy?: RTCIceTransportPolicy;
  /** Instead of the servers that omnivox names. */
  iceServers?: RTCIceServer[];
  /** Only relays over this protocol. */
  relayOver?: 'udp' | 'tcp' | 'tls';
}

export interface RoomEvents {
  peer: (peer: Peer) => void;
  gone: (peer: Peer) => void;
  change: (peer: Peer) => void;
  message: (message: { peer: Peer; data: any }) => void;
  /** The connection to the server is back, and so is the seat. */
  returned: () => void;
}

export interface PeerEvents {
  stream: (stream: MediaStream) => void;
  track: (track: MediaStreamTrack) => void;
  message: (data: any) => void;
  open: () => void;
  change: () => void;
  closed: () => void;
  error: (error: Error) => void;
}

export interface End {
  type: string;
  protocol: string;
  relayProtocol: string;
  address: string;
  port: number;
}

/** How two are connected, from the browser's own figures. */
export interface Path {
  state: RTCPeerConnectionState;
  local?: End;
  remote?: End;
  roundTripMs?: number;
  bytesIn: number;
  bytesOut: number;
  framesDecoded: number;
  framesPerSecond: number;
  width: number;
  height: number;
  packetsLost: number;
  jitterMs: number;
}

export class Peer {
  readonly member: string;
  readonly user: string | null;
  readonly data: any;
  /** Whether this side takes its offer back when both offer at once. */
  readonly polite: boolean;
  readonly state: RTCPeerConnectionState;
  readonly connection: RTCPeerConnection;
  readonly channel?: RTCDataChannel;
  readonly streams: MediaStream[];
  on<Name extends keyof PeerEvents>(name: Name, listener: PeerEvents[Name]): () => void;
  addStream(stream: MediaStream): void;
  removeStream(stream: MediaStream): void;
  send(data: any): void;
  path(): Promise<Path>;
  close(): void;
}

export class Room {
  readonly name: string;
  readonly member?: string;
  readonly peers: Peer[];
  readonly iceServers: RTCIceServer[];
  on<Name extends keyof RoomEvents>(name: Name, listener: RoomEvents[Name]): () => void;
  addStream(stream: MediaStream): void;
  removeStream(stream: MediaStream): void;
  /** To every peer, over data channels. */
  send(data: any): void;
  setPolicy(policy: RTCIceTransportPolicy): void;
  leave(): Promise<void>;
}

/** Takes a seat in a room and connects to everyone who is or comes there. */
export function room(client: Client, name: string, options?: RoomOptions): Promise<Room>;
