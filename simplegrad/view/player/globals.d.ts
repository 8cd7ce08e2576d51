// What the pages around these modules put into the window.
interface Window {
  simplegrad: any;
  simplegradDrafts: any;
  simplegradUntold: any;
  simplegradPast: any;
  simplegradTrail: any;
  simplegradAnswered: any;
  Plotly: any;
}
