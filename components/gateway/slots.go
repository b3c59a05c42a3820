package gateway

// The numbers of the gateway's containers in the ranges of their networks. 6 to 15 are kept for
// monitoring, 16 to 31 for the services of the catalogue.
const (
	detectionSlot = 2
	storeSlot     = 3
	identitySlot  = 4
	proxySlot     = 5
)
