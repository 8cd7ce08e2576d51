// What the address says, as the browser writes it: in the place of what it said, without an entry in the history. Streamlit is
// not told: to the server the address says what the server wrote last, until somebody goes back or on in the history.

/** `query`: all that stands behind the question mark, by name. */
export function writeQuery(query) {
  const url = new URL(window.location.href);
  url.search = String(new URLSearchParams(query));
  writeUrl(url);
}

export function writeUrl(url) {
  if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url);
}
