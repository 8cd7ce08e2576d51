// codemirror.js is made by a script (tools/codemirror/build.py), without its types.
export const CodeMirror: any;
