# SPDX-License-Identifier: Apache-2.0
"""`axjax demo`: handwritten digits on approximate hardware, in minutes.

`data` holds the images, `model` the network, `training` one jitted step of each kind,
`experiment` what is measured, `report` the table and the files, `plot` the picture.
"""
