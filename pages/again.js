// Another connection, perhaps to another server, which knows nothing of this page: it is run there, from its address.
// Until somebody did something, Streamlit would leave it as it was, and what went before would be lost with the server.

const CONNECTED = "CONNECTED", STATE = "data-test-connection-state";
const watched = (window.simplegradConnection ??= { tell: null, times: 0 });

function watch(app) {
  let before = app.getAttribute(STATE);
  new MutationObserver(() => {
    const now = app.getAttribute(STATE);
    if (now === CONNECTED && before !== CONNECTED) {
      watched.tell?.(`${++watched.times} ${Date.now()}`);
      window.dispatchEvent(new Event("simplegrad-again"));
    }
    before = now;
  }).observe(app, { attributes: true, attributeFilter: [STATE] });
}

export default function (component) {
  watched.tell = (number) => component.setStateValue("times", number);
  const app = document.querySelector(`[${STATE}]`);
  if (app && watched.app !== app) {
    watched.app = app;
    watch(app);
  }
}
