// Package syntax reads the rendered configuration of Grafana Alloy with Alloy's own parser, and
// holds every block, argument and reference to what the documentation of the components says. What
// Alloy itself says of the file is for make test-images, which needs the image.
package syntax
