package gateway

// The numbers of the gateway's containers in the ranges of their networks; see workload.Spec.Slot.
const (
	detectionSlot = 16
	storeSlot     = 17
	identitySlot  = 18
	proxySlot     = 19
)
