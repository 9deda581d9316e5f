"""Names of version 0.1 that were public: each answers, and one that has moved says where to."""

import importlib
import pkgutil
import warnings

import pytest

# Old name to new name.
MOVED = {
    "egtr.data.datasets.scenes.GENERATOR_VERSION": "egtr.data.scenes.GENERATOR_VERSION",
    "egtr.data.datasets.scenes.SCENES_CLASSES": "egtr.data.scenes.SCENES_CLASSES",
    "egtr.data.datasets.scenes.SCENES_PREDICATES": "egtr.data.scenes.SCENES_PREDICATES",
    "egtr.data.datasets.scenes.draw_scene": "egtr.data.scenes.draw_scene",
    "egtr.data.datasets.scenes.prepare_scenes": "egtr.data.scenes.prepare_scenes",
    "egtr.data.sources.Picture": "egtr.data.sources.SourceImage",
    "egtr.data.sources.Pictures": "egtr.data.sources.ImageStream",
    "egtr.engine.BestCheckpointer": "egtr.engine.best_weights.BestWeights",
    "egtr.engine.EGTRCheckpointer": "egtr.checkpoint.EGTRCheckpointer",
    "egtr.engine.EGTRPredictor": "egtr.inference.EGTRPredictor",
    "egtr.engine.ModelPart": "egtr.experiments.model_cost.ModelPart",
    "egtr.engine.PredictedPicture": "egtr.structures.PredictedImage",
    "egtr.engine.add_extension_argument": "egtr.config.add_extension_argument",
    "egtr.engine.add_model_arguments": "egtr.config.add_model_arguments",
    "egtr.engine.add_options_arguments": "egtr.config.add_options_arguments",
    "egtr.engine.analyze_model": "egtr.experiments.model_cost.analyze_model",
    "egtr.engine.egtr_argument_parser": "egtr.config.egtr_argument_parser",
    "egtr.engine.explain": "egtr.inference.explain",
    "egtr.engine.explain_graph": "egtr.inference.explain_graph",
    "egtr.engine.export_weights": "egtr.checkpoint.export_weights",
    "egtr.engine.fall_back_to_cpu": "egtr.config.fall_back_to_cpu",
    "egtr.engine.find_new_parameters": "egtr.checkpoint.find_new_parameters",
    "egtr.engine.import_extensions": "egtr.config.import_extensions",
    "egtr.engine.load_checkpoint_file": "egtr.checkpoint.load_checkpoint_file",
    "egtr.engine.load_config": "egtr.config.load_config",
    "egtr.engine.predict": "egtr.inference.predict",
    "egtr.engine.save_config": "egtr.config.save_config",
    "egtr.evaluation.check_topk": "egtr.evaluation.check_top_k",
    "egtr.model_zoo": "egtr.hub.model_zoo",
    "egtr.model_zoo.DEFAULT_MODEL": "egtr.hub.model_zoo.DEFAULT_MODEL",
    "egtr.model_zoo.EGTRPathHandler": "egtr.hub.path_handler.EGTRPathHandler",
    "egtr.model_zoo.MODELS": "egtr.hub.model_zoo.MODELS",
    "egtr.model_zoo.get_config_file": "egtr.hub.model_zoo.get_config_file",
    "egtr.model_zoo.get_weights_file": "egtr.hub.model_zoo.get_weights_file",
    "egtr.model_zoo.list_configs": "egtr.hub.model_zoo.list_configs",
    "egtr.model_zoo.list_models": "egtr.hub.model_zoo.list_models",
    "egtr.model_zoo.list_weights": "egtr.hub.model_zoo.list_weights",
    "egtr.modeling.outputs.Target": "egtr.modeling.target.Target",
    "egtr.visualization.export_scene_graphs": "egtr.inference.export_scene_graphs",
    "egtr.visualization.export_video": "egtr.inference.export_video",
    "egtr.visualization.save_graph": "egtr.inference.save_graph",
    "egtr.visualization.show_scene_graphs": "egtr.inference.show_scene_graphs",
    "egtr.visualization.report.ReportPicture": "egtr.visualization.report.ReportImage",
    "egtr.visualization.report.encode_picture": "egtr.visualization.report.encode_image",
    "egtr.visualization.report.pictures_of_dataset": "egtr.inference.images_of_dataset",
    "egtr.visualization.report.pictures_of_predictions": "egtr.inference.images_of_predictions",
    "egtr.visualization.report.pictures_of_source": "egtr.inference.images_of_source",
}
# Names that are where they were, by module.
KEPT = {
    "egtr": """
        CONNECTIVITY_HEAD_REGISTRY EGTR EGTRError EGTROutput EGTRPredictor PAIR_FUNCTION_REGISTRY PairFeatures
        Prediction RELATION_HEAD_REGISTRY SceneGraph __version__ add_egtr_config data explain explain_graph
        get_egtr_cfg predict
    """,
    "egtr.checkpoint": """
        Conversion config_from_reference convert_artifact convert_name convert_state_dict load_reference
        read_names
    """,
    "egtr.config": "add_egtr_config get_egtr_cfg",
    "egtr.data": """
        DETRResize SceneGraphMapper build_augmentation build_test_loader build_train_loader
        build_triplet_counts check_dataset_matches_config count_triplets detr_resize_shape get_metadata
        get_order_seed load_triplet_counts register_builtin_datasets register_coco_sg register_dataset
        register_egtr_json register_open_images register_psg register_vg_h5 skip_batches
    """,
    "egtr.data.datasets": """
        FORMATS Format ImageAnnotations Problem SceneGraphAnnotations get_format read_annotations read_coco_sg
        read_egtr_json read_open_images read_psg read_vg_h5 register_builtin_datasets register_coco_sg
        register_dataset register_egtr_json register_open_images register_psg register_reader register_rows
        register_vg_h5 to_dataset_dicts
    """,
    "egtr.engine": """
        AccumulatingTrainer EGTRTrainer build_optimizer build_train_loop launch
        parameter_group seed_process setup train_or_evaluate
    """,
    "egtr.evaluation": """
        Annotations Detections ImageScores NEVER OBJECT_AP PROTOCOLS PredicateRecall PredictionMeta
        PredictionWriter Protocol REFERENCE SceneGraphEvaluator Scorer detection_ap detections_per_class
        detections_per_query evaluate first_hits get_protocol get_protocols list_images match_objects
        match_triplets prune_prediction read_meta read_predictions score_predictions
    """,
    "egtr.layers": """
        DEFORMABLE_ATTENTION_REGISTRY MLP MultiScaleDeformableAttention QueryKeySelfAttention
        box_cxcywh_to_xyxy box_xyxy_to_cxcywh generalized_box_iou inverse_sigmoid
        multi_scale_deformable_attention sine_box_embedding sine_position_embedding
    """,
    "egtr.modeling": """
        CONNECTIVITY_HEAD_REGISTRY DETRTransformer DeformableTransformer EGTR EGTROutput HungarianMatcher
        PAIR_FUNCTION_REGISTRY PairFeatures RELATION_HEAD_REGISTRY RELATION_TASK_REGISTRY RelationTask
        SetCriterion TRANSFORMER_REGISTRY Target TimmBackbone build_timm_backbone
    """,
    "egtr.modeling.relation": """
        BoxOffsetTask CONNECTIVITY_HEAD_REGISTRY ConcatPairs DotProductPairs FrequencyBias HadamardPairs
        MLPConnectivityHead MLPRelationHead PAIR_FUNCTION_REGISTRY PairFeatures RELATION_HEAD_REGISTRY
        RELATION_TASK_REGISTRY RelationPart RelationSource RelationTask SeparablePairs SumPairs
        build_connectivity_head build_relation_head build_relation_part build_relation_tasks search_best_pairs
    """,
    "egtr.modeling.transformer": """
        DETRTransformer DeformableTransformer TRANSFORMER_REGISTRY TransformerOutput build_transformer
    """,
    "egtr.serving": """
        Limits ModelStore Worker create_app serve
    """,
    "egtr.structures": """
        CandidatePairs EGTRError EdgeExplanation ExplainedObject GroundTruth Prediction RankedTriplets
        SceneGraph TripletCounts all_pairs best_pairs candidate_pairs check_max_rank not_crowd paired_iou
        pairwise_iou rank_candidates rank_triplets remap_relations top_indices
    """,
    "egtr.visualization": """
        VideoDrawer draw_explanation draw_histograms draw_samples draw_scene_graph figure_to_array
        graph_from_annotations save_scene_graph
    """,
    "egtr.visualization.report": """
        Comparison ReportWriter assemble_page compare_with_truth page_config read_asset read_graph_library
        to_json
    """,
}


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_answers_and_says_what_it_is_called_now(old, new):
    module, _, name = old.rpartition(".")
    with pytest.warns(DeprecationWarning) as warned:
        found = getattr(importlib.import_module(module), name)
    assert found is pkgutil.resolve_name(new)
    assert [str(warning.message) for warning in warned] == [f"{old} is now {new}; the old name goes in version 0.3.0"]
    # The warning points at the user of the old name, not at the module that has it.
    assert warned[0].filename == __file__


@pytest.mark.parametrize("module", KEPT)
def test_other_names_are_where_they_were(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        missing = [name for name in KEPT[module].split() if not hasattr(importlib.import_module(module), name)]
    assert missing == []


@pytest.mark.parametrize("module", sorted({old.rpartition(".")[0] for old in MOVED}))
def test_a_name_that_never_was_is_refused(module):
    with pytest.raises(AttributeError, match="nothing_like_it"):
        importlib.import_module(module).nothing_like_it  # noqa: B018
