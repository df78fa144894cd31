/** How an API hands out a list in pages. What is left out comes from the integration. */
export type Pagination = CursorPagination | LinkPagination | OffsetPagination | PaginationBase;

/** What all ways have in common. */
export interface PaginationBase {
  /** Which way. */
  type?: string;
  /** Dotted path of the list in a response; without it the response is the list. */
  response_path?: string;
  /** Items a page. */
  limit?: number | string;
  /** The parameter that `limit` is sent as. */
  limit_name_in_request?: string;
  /** Parameters go into the body. Default: for POST, PUT and PATCH. */
  in_body?: boolean;
  /** Called after each page that has a next one. */
  on_page?: (page: { nextPageParam: string | number | undefined; response: ProxyResponse<any> }) => Promise<void> | void;
}

/** The response names a cursor for the next page. */
export interface CursorPagination extends PaginationBase {
  /** By cursor. */
  type: 'cursor';
  /** The parameter that the cursor is sent as; dotted names nest in a body. */
  cursor_name_in_request: string;
  /** Dotted path of the cursor in a response. */
  cursor_path_in_response: string;
}

/** The response links to the next page. */
export interface LinkPagination extends PaginationBase {
  /** By link. */
  type: 'link';
  /** The relation in the Link header, usually `next`. */
  link_rel_in_response_header?: string;
  /** Dotted path of the link in the response. */
  link_path_in_response_body?: string;
}

/** The request says where to go on. */
export interface OffsetPagination extends PaginationBase {
  /** By offset or page number. */
  type: 'offset';
  /** The parameter that the offset is sent as. */
  offset_name_in_request: string;
  /** The first offset. Default: 0. */
  offset_start_value?: number;
  /** Whether the offset counts items or pages. Default: items. */
  offset_calculation_method?: 'by-response-size' | 'per-page';
}

/** A call of the provider's API, to which the host adds the connection's credentials. */
export interface ProxyConfiguration {
  /** A path below the integration's base URL, or a whole URL. */
  endpoint: string;
  /** Default: GET. */
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** The function's own; credentials are added on the host. */
  headers?: Record<string, string>;
  /** `undefined` is skipped, arrays are joined with commas. */
  params?: string | Record<string, string | number | boolean | string[] | number[] | undefined>;
  /** The body: JSON, text, form, bytes, or a stream of them. More than 4 MiB of bytes go piece by piece, and only once. */
  data?: unknown;
  /** Attempts after the first failed one. Default: 0. */
  retries?: number | string;
  /** Statuses to try again on, beyond 429 and 5xx. */
  retryOn?: number[] | null;
  /** Headers that say when to try again: `at` a time, or `after` so many seconds. */
  retryHeader?: { at?: string; after?: string };
  /** Instead of the integration's base URL. */
  baseUrlOverride?: string;
  /** Answers are decompressed in any case. */
  decompress?: boolean;
  /** Default: json. A `stream` is read piece by piece and may be longer than there is memory; others have at most 32 MiB. */
  responseType?: 'json' | 'text' | 'arraybuffer' | 'stream' | 'blob';
  /** For `paginate` alone: merged over the integration's way. */
  paginate?: Partial<CursorPagination> | Partial<LinkPagination> | Partial<OffsetPagination>;
  /** Whether own headers go along to another origin; credentials never do. Default: no. */
  forwardHeadersOnRedirect?: boolean;
  /** Default: the execution's. */
  providerConfigKey?: string;
  /** Default: the execution's. */
  connectionId?: string;
}

/** An answer. Anything but 2xx is thrown, with the answer as `response`. */
export interface ProxyResponse<Data = any> {
  /** The body, as `responseType` asks for it. */
  data: Data;
  /** 2xx. */
  status: number;
  /** The status in words. */
  statusText: string;
  /** Names in lower case. */
  headers: Record<string, any>;
  /** What was asked for. */
  config: ProxyConfiguration;
}
