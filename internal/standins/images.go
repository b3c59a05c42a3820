package standins

// Images are all stand-ins.
var Images []Image
