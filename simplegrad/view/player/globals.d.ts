// What the pages around these modules put into the window.
interface Window {
  simplegradTyped: any;
  simplegrad: any;
  simplegradTrail: any;
  simplegradAnswered: any;
  Plotly: any;
}
