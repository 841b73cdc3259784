"""Electrical impedance tomography: tanks, the complete electrode model, data, segmentation, score."""

from pdeopt.eit.electrodes.electrode_model import CompleteElectrodeModel, complete_electrode_model
from pdeopt.eit.electrodes.sensitivity import VoltageJacobian, voltage_jacobian
from pdeopt.eit.electrodes.voltages import ElectrodeVoltages
from pdeopt.eit.experiment import Experiment
from pdeopt.eit.images.score import segmentation_score
from pdeopt.eit.measurements.calibration import Calibration, calibrate
from pdeopt.eit.measurements.ktc import TankData, read_ktc
from pdeopt.eit.measurements.noise import absolute_noise, difference_noise, superposition_violation
from pdeopt.eit.measurements.simulation import simulated_data
from pdeopt.eit.shape_fit import ShapeFit, ShapeFitter
from pdeopt.eit.tanks.tank import Tank, electrode_names
from pdeopt.eit.tanks.tank_cylinder import cylinder_mesh
from pdeopt.eit.tanks.tank_disk import disk_mesh
from pdeopt.eit.tanks.tank_file import electrode_names_of, read_tank_mesh

__all__ = [
    "Calibration",
    "CompleteElectrodeModel",
    "ElectrodeVoltages",
    "Experiment",
    "ShapeFit",
    "ShapeFitter",
    "Tank",
    "TankData",
    "VoltageJacobian",
    "absolute_noise",
    "calibrate",
    "complete_electrode_model",
    "cylinder_mesh",
    "difference_noise",
    "disk_mesh",
    "electrode_names",
    "electrode_names_of",
    "read_ktc",
    "read_tank_mesh",
    "segmentation_score",
    "simulated_data",
    "superposition_violation",
    "voltage_jacobian",
]
