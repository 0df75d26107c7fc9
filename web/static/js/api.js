/** The REST API. Paths are relative to the page, so that it also works under a prefix. */

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The answer of `api/<path>` as an object. Raises ApiError; status 0 where nobody answers. */
export async function get(path, parameters = {}, signal = undefined) {
  return call("GET", path, parameters, signal);
}

export async function post(path, parameters = {}) {
  return call("POST", path, parameters);
}

async function call(method, path, parameters, signal) {
  const present = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== "");
  const query = new URLSearchParams(present.map(([name, value]) => [name, String(value)]));
  let response;
  try {
    response = await fetch(`api/${path}${present.length ? `?${query}` : ""}`, { method, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "the server does not answer");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) {
    throw new ApiError(response.status, body?.error?.code ?? "broken", body?.error?.message ?? response.statusText);
  }
  return body;
}
