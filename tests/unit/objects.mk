# SPDX-License-Identifier: Apache-2.0
# Programs of cmocka, in the order of the layers that they test. Sorted by name within a layer.
