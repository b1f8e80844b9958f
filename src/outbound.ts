export interface Outbound {
  /**
   * What is wrong with a URL that a client gave, in words for him, or null. Looks at scheme, credentials and literal addresses;
   * names are resolved and checked when the request is made.
   */
  refuses(url: string): string | null;
  /** fetch under the trust rule: public unicast addresses only, redirects checked hop by hop (or not followed), limits on bytes and time. */
  fetch(url: string, options: OutboundOptions): Promise<OutboundResponse>;
}

export interface OutboundOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'HEAD';
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  /** The whole exchange, body included. */
  timeoutMs: number;
  /** The body is cut with an OutsideError beyond it. */
  maxBytes: number;
  /** Default 0: a redirect is the answer. */
  maxRedirects?: number;
  signal?: AbortSignal;
}

export interface OutboundResponse {
  status: number;
  headers: Headers;
  /** The address after redirects. */
  url: string;
  body: AsyncIterable<Uint8Array>;
  text(): Promise<string>;
}

export declare function createOutbound(options: { allowedHosts: string[] }): Outbound;
